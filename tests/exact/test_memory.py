"""Runs that are killed and go on from shared memory: all that they leave is the same, and few steps are made again."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

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


@pytest.mark.parametrize("kills", [3, pytest.param(1000, marks=pytest.mark.full)])
def test_runs_that_are_killed_at_random_with_saves_in_memory(
    kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its writer process, so that nothing survives but what lies on disk and in memory."""
    draw = random.Random(kills)
    program = [*DIGITS, "--pause", "0.02"]
    live = partial(run_life, program, timeout=300)
    servers()
    began = time.monotonic()
    assert live(tmp_path / "straight", Plan(str(tmp_path / "report")))
    duration = time.monotonic() - began
    killed, runs, folder = 0, 0, tmp_path / "run0"
    while killed < kills or runs == 0:
        when = Kill("time", count=draw.randint(100, 900)) if killed < kills else None
        memory = {"PADDLE_RESUME_MEMORY": "1"}
        if live(folder, Plan(str(tmp_path / "report-killed"), when), duration=duration, variables=memory):
            assert first_differences(tmp_path / "straight", folder) == []
            runs, folder = runs + 1, tmp_path / f"run{runs + 1}"
        else:
            killed += 1
    with capsys.disabled():
        print(f"\n{killed} random kills of {runs} runs with saves in memory: no bit different")
    assert not (tmp_path / "report-killed").exists()
