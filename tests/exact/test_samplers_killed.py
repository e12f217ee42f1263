"""Runs whose order a sampler or a stream gives end by SIGKILL in the middle of steps and saves, and are exact."""

from __future__ import annotations

from pathlib import Path

import pytest
from forking import assert_exact_resume, run_and_compare
from places import PROGRAMS

import paddle_resume  # noqa: F401 - its CPU set-up comes before Paddle
from paddle_resume.testing import Kill

PROGRAM = str(PROGRAMS / "train_sampled.py")

# In the first epoch, while a save is under way, and in the second, so that what an earlier pass left counts too.
KILLS = [Kill("step", 5), Kill("save", 2, 6), Kill("step", 14)]
SOON = [Kill("step", 5), Kill("step", 11)]
ROWS = {
    "weighted": (0, KILLS),
    "stateful": (0, KILLS),
    "distributed": (0, KILLS),
    "random": (2, KILLS),
    "subset": (0, SOON),
    "stream": (2, KILLS),
    "stateful stream": (2, KILLS),
}
AGAIN = ("random", "subset", "stream")


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.full if row in AGAIN else ()) for row in ROWS])
def test_a_killed_run_ends_as_if_untouched(row: str, tmp_path: Path) -> None:
    workers, kills = ROWS[row]
    assert_exact_resume([PROGRAM, "--order", row, "--workers", str(workers)], tmp_path, kills)


@pytest.mark.parametrize(
    ("row", "workers"), [("stateful", 0), pytest.param("stateful stream", 2, marks=pytest.mark.full)]
)
def test_without_the_position_the_proof_fails(row: str, workers: int, tmp_path: Path) -> None:
    """The negative control: what the data have in the checkpoint is not put back."""
    program = [PROGRAM, "--order", row, "--workers", str(workers)]
    assert not run_and_compare(program, tmp_path, [Kill("step", 11)], forget=["data"]).holds
