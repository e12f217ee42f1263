"""The matrix of features and settings: each value comes together with each other one, and nothing differs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import paddle
import pytest
from generated.descriptions import SEVERAL, TABLE, history_of, in_pairs
from generated.history import Counts, GeneratedRun

FEW = 2


def chosen(description: dict[str, Any]) -> dict[str, Any]:
    """What was drawn for each row; an empty list of callbacks stands for none of them."""
    return {n: (v or ["none"])[0] if n in SEVERAL else v for n, v in description.items()}


def test_any_two_values_come_together_unless_they_exclude_each_other() -> None:
    runs = [chosen(description) for description in in_pairs(0)]
    free = ("loss", "callbacks", "metric", "logger", "collate", "keep", "ema", "log_every")
    seen = {(a, run[a], b, run[b]) for run in runs for a, b in itertools.combinations(free, 2)}
    expected = {(a, x, b, y) for a, b in itertools.combinations(free, 2) for x in TABLE[a] for y in TABLE[b]}
    assert seen == expected
    for name, values in TABLE.items():
        assert {run[name] for run in runs} == set(values)


@pytest.mark.skipif(paddle.__version__.startswith("2."), reason="some of the optimizers are of Paddle 3")
@pytest.mark.parametrize("most", [FEW, pytest.param(None, marks=pytest.mark.full)])
def test_nothing_differs(most: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts()
    for number, description in enumerate(itertools.islice(in_pairs(0), most)):
        history = history_of(description, number)
        assert GeneratedRun(description, history, tmp_path / str(number), counts).differences() == [], description
    with capsys.disabled():
        print(f"\n{counts}")
