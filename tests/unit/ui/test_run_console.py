"""What a person sees of a run: steps are updates in every line, also where several batches make one."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import paddle
import pytest
from rich.console import Console

from paddle_resume import Monitoring, StepOptions, Trainer, seed_everything
from paddle_resume.training.run_length import RunLength
from paddle_resume.ui.run_console import RunConsole


class Points(paddle.io.Dataset):
    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(2, index, np.float32), np.full(1, index, np.float32)

    def __len__(self) -> int:
        return 44


def trained(folder: Path, accumulate_steps: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of two epochs over 44 samples in batches of 4, on a clock that goes a second on with each step."""
    seed_everything(0)
    clock = iter(range(10_000))
    monkeypatch.setattr("paddle_resume.ui.run_console.monotonic", lambda: float(next(clock)))
    output = io.StringIO()
    console = RunConsole([], console=Console(file=output, width=200))
    model = paddle.nn.Linear(2, 1)
    trainer = Trainer(
        model,
        paddle.optimizer.SGD(1e-4, parameters=model.parameters()),
        loss=paddle.nn.MSELoss(),
        callbacks=[console],
        save_dir=folder,
        step=StepOptions(accumulate_steps=accumulate_steps),
        monitoring=Monitoring(log_every=1),
    )
    trainer.train(Points(), epochs=2, global_batch_size=4)
    assert trainer.step == trainer.length.total_steps == 2 * -(-11 // accumulate_steps)
    return [line for line in output.getvalue().splitlines() if line.startswith("[train]")]


@pytest.mark.parametrize("accumulate_steps", [1, 4])
def test_lines_count_updates_and_samples(
    accumulate_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = trained(tmp_path, accumulate_steps, monkeypatch)
    per_epoch = -(-11 // accumulate_steps)
    counted = [re.search(r"epoch: (\d+), step: (\d+)/(\d+), ", line) for line in lines]
    assert [tuple(map(int, found.groups())) for found in counted if found] == [
        (epoch, step, per_epoch) for epoch in range(2) for step in range(1, per_epoch + 1)
    ]
    # One look at the clock a line: a step takes a second.
    assert all(f"samples/s: {4 * accumulate_steps}" in line for line in lines)
    left = [int(line.rpartition(":")[2]) for line in lines]
    assert left == list(range(2 * per_epoch - 1, -1, -1))


def test_a_length_counts_updates_everywhere() -> None:
    length = RunLength(epochs=3, max_steps=None, batches_per_epoch=11, accumulate_steps=4, batch_size=8)
    assert (length.steps_per_epoch, length.total_steps, length.samples_per_step) == (3, 9, 32)
    assert [length.steps_of(batches) for batches in (0, 1, 4, 5, 11)] == [0, 1, 1, 2, 3]
    short = RunLength(epochs=3, max_steps=7, batches_per_epoch=11, accumulate_steps=4)
    assert (short.total_steps, short.moves("step"), short.moves("epoch")) == (7, 7, 3)
    stream = RunLength(epochs=3, max_steps=None, batches_per_epoch=None)
    assert (stream.steps_per_epoch, stream.total_steps, stream.moves("epoch")) == (None, None, 3)
