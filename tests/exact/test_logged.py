"""What a step logs by name goes on as if no kill had been: curves and records, bit for bit."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from forking import assert_exact_resume, run_life
from places import PROGRAMS

from paddle_resume.loggers import read_records, read_scalars
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

PROGRAM = str(PROGRAMS / "train_logged.py")


def test_the_curves_of_several_losses_are_the_same_after_kills(tmp_path: Path) -> None:
    # Saves at 5, 10, ... lie between the records at 3, 6, 8, ...: the means are half made then.
    assert_exact_resume(
        [PROGRAM], tmp_path, [Kill("step", 6), Kill("save", 2, 4), Kill("step", 11), Kill("evaluate", 9, 1)]
    )


def test_the_proof_fails_when_what_was_logged_is_not_restored(tmp_path: Path) -> None:
    report = tmp_path / "report"
    command = [PROGRAM, "--inline"]
    assert run_life(command, tmp_path / "straight", Plan(str(report)), timeout=300)
    folder = tmp_path / "straight" / "log" / "game"
    records = read_records(folder / "metrics.jsonl")
    tags = {"loss", "d_loss", "g_loss", "spread", "share", "lr"}
    assert set(records[0]) == {"step", *(f"train/{tag}" for tag in tags)}
    assert set(records[-1]) == {"step", "valid/loss", "valid/twice", "valid/d_real"}
    assert records[-1]["valid/twice"] == pytest.approx(2 * records[-1]["valid/loss"])
    # Without one that is called so, the loss is the sum of them.
    both = records[0]["train/d_loss"] + records[0]["train/g_loss"]
    assert records[0]["train/loss"] == pytest.approx(both, rel=1e-6)
    curve = read_scalars(folder / "vdlrecords.game.log")["train/spread"]
    assert [step for step, _, _ in curve] == [3, 6, 8, 11, 14, 16]

    assert not run_life(command, tmp_path / "killed", Plan(str(report), Kill("step", 7)), timeout=300)
    with contextlib.suppress(RuntimeError):
        run_life(command, tmp_path / "killed", Plan(str(report), None, ["metrics"]), timeout=300)
    assert "metrics." in report.read_text()
    assert first_differences(tmp_path / "straight", tmp_path / "killed")
