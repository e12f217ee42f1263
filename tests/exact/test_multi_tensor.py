"""Optimizers with `use_multi_tensor` list their state a second time, and have to list it anew after a resume."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import paddle
import pytest
from small_run import Points, net

import paddle_resume
from paddle_resume import Callback, SaveSchedule, Trainer
from paddle_resume.testing import first_differences


class StopsAfter(Callback):
    only_watches = True

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step == self.step:
            signal.raise_signal(signal.SIGTERM)


def train(folder: Path, kind: str, stop: int = 0) -> None:
    paddle_resume.seed_everything(3)
    with paddle.utils.unique_name.guard():
        model = net()
    optimizer = getattr(paddle.optimizer, kind)(0.05, parameters=model.parameters(), use_multi_tensor=True)
    Trainer(
        model,
        optimizer,
        loss=paddle.nn.CrossEntropyLoss(),
        save_dir=folder / "checkpoint",
        schedule=SaveSchedule(every_epochs=1, every_steps=3, background=False, keep=100),
        callbacks=[StopsAfter(stop)],
    ).train(Points(), epochs=2, global_batch_size=8)


@pytest.mark.parametrize("kind", ["Momentum", "Adam"])
def test_a_run_that_is_stopped_ends_as_if_untouched(kind: str, tmp_path: Path) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train(straight, kind)
    for stop in (2, 6):
        with pytest.raises(SystemExit):
            train(stopped, kind, stop)
    train(stopped, kind)
    assert [line for line in first_differences(straight, stopped) if "only in" not in line] == []
