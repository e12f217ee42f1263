"""Runs that hypothesis makes up, killed, stopped and made longer anywhere: all that they leave is the same.

`GENERATED_RUNS=500 pytest -n 0 -m full tests/exact/test_generated_runs.py` makes so many.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import paddle
import pytest
from forking import servers
from generated.descriptions import descriptions, histories
from generated.history import Counts, GeneratedRun
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FEW = 4
MANY = int(os.environ.get("GENERATED_RUNS", "200"))


@pytest.mark.skipif(paddle.__version__.startswith("2."), reason="some of the optimizers are of Paddle 3")
@pytest.mark.parametrize("runs", [FEW, pytest.param(MANY, marks=pytest.mark.full)])
def test_no_generated_run_ends_otherwise_for_having_been_interrupted(
    runs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    servers()
    counts = Counts()

    @settings(
        max_examples=runs,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink] if runs > FEW else [Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def every_run(data: Any) -> None:
        description = data.draw(descriptions())
        history = data.draw(histories())
        run = GeneratedRun(description, history, tmp_path / str(counts.of["runs"]), counts)
        assert run.differences() == [], f"{description}\n{history}"

    every_run()
    with capsys.disabled():
        print(f"\n{counts}")
    assert counts.of["comparisons"] >= runs / 2
