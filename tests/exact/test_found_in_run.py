"""State that nobody lists, found and put back: each kind across kills, and a control that forgets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from forking import assert_exact_resume, run_life
from places import PROGRAMS

from paddle_resume.checkpoint.reader import load
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

PROGRAM = str(PROGRAMS / "train_found.py")
# 5 steps an epoch, and saves every 3: steps 5, 8 and 11 are made again, from steps 3, 6 and 9.
KILLS = [Kill("step", 5), Kill("step", 8), Kill("save", 3, 6), Kill("step", 11)]
# What is seen in its kind's other row as well.
AGAIN = ("gru", "simple-rnn", "hidden-buffer")
CASES = [
    *("lstm", "gru", "simple-rnn", "buffer", "hidden-buffer", "late-buffer", "average-of-buffer", "loss"),
    *("lookahead", "model-average", "epoch-begin", "containers", "train-begin", "optimizer", "dataset", "collate"),
    *("metric", "trainer"),
]
# Where another owner has the state as well, or none is there on a CPU.
NOT_FOUND = ("lstm", "gru", "simple-rnn", "buffer", "hidden-buffer", "average-of-buffer")


@pytest.mark.parametrize(
    "what", [pytest.param(each, marks=pytest.mark.full if each in AGAIN else ()) for each in CASES]
)
def test_a_killed_run_ends_as_if_untouched(what: str, tmp_path: Path) -> None:
    assert_exact_resume([PROGRAM, "--what", what], tmp_path, KILLS)


@pytest.mark.parametrize("what", [each for each in CASES if each not in NOT_FOUND])
def test_the_proof_fails_where_what_was_found_is_forgotten(what: str, tmp_path: Path) -> None:
    program = [PROGRAM, "--what", what, "--inline"]
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    assert run_life(program, tmp_path / "straight", Plan(str(tmp_path / "report")), timeout=300)
    assert not run_life(program, tmp_path / "killed", Plan(str(tmp_path / "report"), Kill("step", 8)), timeout=300)
    plan = Plan(str(tmp_path / "report"), None, ["found", "found.arrays"])
    run_life(program, tmp_path / "killed", plan, timeout=300)
    assert first_differences(tmp_path / "straight", tmp_path / "killed")


def test_large_arrays_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert run_life([PROGRAM, "--what", "containers"], tmp_path / "run", Plan(str(tmp_path / "report")), timeout=300)
    loaded = load(tmp_path / "run" / "checkpoint" / "model_step9")
    assert list(loaded.tensors[".pdfound"]) == ["callback.Containers.big"]
    assert set(loaded.record.owners["found"]["ranks"][0]["moved"]) >= {
        "callback.Containers",
        "callback.Containers.window",
    }
