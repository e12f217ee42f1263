"""What the tests of the real suites compare would show a single bit, and no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
import suite_outputs
import visualdl


def write(folder: Path, *, weight: float = 1.5, rate: float = 0.1, loss: float = 2.5, cost: float = 9.0) -> Path:
    """A folder as a suite leaves it."""
    folder.mkdir()
    paddle.save({"w": paddle.to_tensor([weight, 2.0])}, str(folder / "model.pdparams"))
    paddle.save({"moment": [np.float32(weight)], "rate": rate, "fps": cost}, str(folder / "model.pdopt"))
    with visualdl.LogWriter(str(folder / "curves")) as curves:
        for step in range(3):
            curves.add_scalar("loss", loss * step, step)
            curves.add_scalar("Train/batch_cost", cost + step, step)
    (folder / "train.log").write_text(f"took {cost} s")
    return folder


def test_equal_outputs_do_not_differ_whatever_the_times(tmp_path: Path) -> None:
    assert suite_outputs.differences(write(tmp_path / "one"), write(tmp_path / "other", cost=11.0)) == []


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"weight": float(np.nextafter(np.float32(1.5), np.float32(2)))}, {"model.pdparams/w", "model.pdopt/moment/0"}),
        ({"rate": float(np.nextafter(0.1, 1))}, {"model.pdopt/rate"}),
        ({"loss": 2.5000002}, {"curves: loss"}),
    ],
)
def test_one_bit_is_a_difference(change: dict[str, float], places: set[str], tmp_path: Path) -> None:
    found = suite_outputs.differences(write(tmp_path / "one"), write(tmp_path / "other", **change))
    assert {line.rpartition(": ")[0] for line in found} == places


def test_a_file_that_only_one_has_is_a_difference(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    (other / "model.pdopt").unlink()
    (one / "boxes.json").write_text("[]")
    found = suite_outputs.differences(one, other)
    assert any("model.pdopt/rate" in line for line in found) and any("boxes.json" in line for line in found)
