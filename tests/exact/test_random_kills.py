"""Real training runs, killed by SIGKILL at random moments: no checkpoint is ever lost, and not one bit differs."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import pytest
from forking import run_life, servers
from places import PROGRAMS

import paddle_resume  # noqa: F401 - first of all, since it sets up the CPU before Paddle is imported
from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

PROGRAM = str(PROGRAMS / "train_digits.py")
# A save at every step, so that most kills strike while one is being written.
OPTIONS = ["--dropout", "0.3", "--every-steps", "1", "--pause", "0.02"]


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.full)])
def test_runs_that_are_killed_at_random_lose_nothing(
    kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(kills)
    live = partial(run_life, [PROGRAM, *OPTIONS], timeout=300)
    servers()  # Their start is no part of the duration.
    began = time.monotonic()
    assert live(tmp_path / "straight", Plan(str(tmp_path / "report")))
    duration = time.monotonic() - began
    killed, runs, newest, folder = 0, 0, -1, tmp_path / "run0"
    while killed < kills or runs == 0:
        # In thousandths of the duration.
        when = Kill("time", count=draw.randint(100, 900)) if killed < kills else None
        if live(folder, Plan(str(tmp_path / "report-killed"), when), duration=duration):
            assert first_differences(tmp_path / "straight", folder) == []
            runs, newest = runs + 1, -1
            folder = tmp_path / f"run{runs}"
            continue
        killed += 1
        reached = newest_step(folder / "checkpoint")
        assert reached >= newest, f"kill {killed}: step {newest} was durable, and only step {reached} can be loaded"
        newest = reached
    with capsys.disabled():
        print(f"\n{killed} random kills of {runs} training runs: no checkpoint lost, no bit different")
    assert not (tmp_path / "report-killed").exists()


def newest_step(folder: Path) -> int:
    """The step of the newest whole checkpoint; -1 if there is none."""
    for found in find_all(folder):
        try:
            return load(found.prefix).record.step
        except Unreadable:
            continue
    return -1
