"""Runs that are killed and go on from shared memory: all that they leave is the same, and few steps are made again."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from forking import assert_exact_resume, run_and_compare, run_life, servers
from places import PROGRAMS

import paddle_resume  # noqa: F401 - first of all, since it sets up the CPU before Paddle is imported
from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

# Saves on disk are in line, so that none is under way when one in memory is due.
DIGITS = [str(PROGRAMS / "train_digits.py"), "--dropout", "0.3", "--inline"]
FIT = [str(PROGRAMS / "fit_tutorial.py")]
# A save on disk comes after every third step. So many lives that the last one goes on from memory, as two of three do.
STEPS = [2, 5, 7, 11]


@pytest.mark.parametrize(
    ("program", "moment"),
    [
        (DIGITS, "step"),
        pytest.param([*DIGITS, "--workers", "2"], "step", marks=pytest.mark.full),
        pytest.param(FIT, "begin", marks=pytest.mark.full),
    ],
    ids=["trainer", "workers", "fit"],
)
def test_a_run_that_goes_on_from_memory_is_bit_for_bit_a_straight_one(
    program: list[str], moment: str, tmp_path: Path
) -> None:
    assert_exact_resume(program, tmp_path, [Kill(moment, after=step) for step in STEPS], memory=True)
    if program is not FIT:  # There a save on disk may be under way, and then none is made in memory.
        assert resumed_from(tmp_path) == ["memory", "digits_step3", "digits_step6", "memory"]


@pytest.mark.parametrize(
    "owner", ["model", pytest.param("progress", marks=pytest.mark.full), pytest.param("rng", marks=pytest.mark.full)]
)
def test_the_proof_sees_what_is_not_restored_from_memory(owner: str, tmp_path: Path) -> None:
    """With no checkpoint on disk before the kill, what is forgotten is forgotten from memory."""
    proof = run_and_compare(DIGITS, tmp_path, [Kill("step", after=2)], forget=[owner], memory=True)
    assert resumed_from(tmp_path)[0] == "memory"
    assert proof.differences


def resumed_from(folder: Path) -> list[str]:
    """What each life of the killed run went on from, as its last checkpoint tells."""
    newest = next(found.record for found in find_all(folder / "killed" / "checkpoint") if found.record)
    return [event["from"] for event in newest.lineage if event["event"] == "resume"]


def steps_lost(told: Path) -> list[int]:
    """How many of the steps that each killed life had made its next one had to make again."""
    lives: list[list[int]] = []
    for line in told.read_text().splitlines():
        if line.startswith("from"):
            lives.append([int(line.split()[1])])
        elif lives:
            lives[-1].append(int(line))
    return [before[-1] - after[0] for before, after in zip(lives, lives[1:])]


@pytest.mark.parametrize(
    ("kills", "memory"),
    [(3, "1"), pytest.param(1000, "auto", marks=pytest.mark.full), pytest.param(200, "off", marks=pytest.mark.full)],
)
def test_runs_that_are_killed_at_random_with_and_without_saves_in_memory(
    kills: int, memory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its writer process, so that nothing survives but what lies on disk and in memory."""
    draw = random.Random(kills)
    program = [*DIGITS, "--pause", "0.02", "--tell-steps", "steps"]
    if kills > 3:
        program += ["--epochs", "6", "--every-steps", "16"]
    live = partial(run_life, program, timeout=300)
    servers()
    began = time.monotonic()
    assert live(tmp_path / "straight", Plan(str(tmp_path / "report")))
    duration = time.monotonic() - began
    killed, runs, folder, lost = 0, 0, tmp_path / "run0", []
    while killed < kills or runs == 0:
        when = Kill("time", count=draw.randint(100, 900)) if killed < kills else None
        variables = {"PADDLE_RESUME_MEMORY": memory}
        if live(folder, Plan(str(tmp_path / "report-killed"), when), duration=duration, variables=variables):
            lost += steps_lost(folder / "steps")
            (folder / "steps").unlink()
            assert first_differences(tmp_path / "straight", folder) == []
            runs, folder = runs + 1, tmp_path / f"run{runs + 1}"
        else:
            killed += 1
    with capsys.disabled():
        print(f"\n{killed} random kills of {runs} runs with saves in memory: {memory}; no bit different, steps lost in")
        print(f"each: mean {np.mean(lost):.2f}, median {np.median(lost):.0f}, at most {max(lost)}")
    assert not (tmp_path / "report-killed").exists()
