"""In a notebook one model is given to several trainers: each goes on as the next process would."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Optional

import pytest
from small_run import Points

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Callback, SaveSchedule, Trainer
from paddle_resume.testing import first_differences


class Remembering(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.fc = paddle.nn.Linear(8, 2)
        self.calls = 0
        self.seen: list[int] = []

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.training:
            self.calls += 1
            if self.calls > 7:
                self.seen.append(self.calls)
        return self.fc(x) * (1 + 0.01 * self.calls + 0.1 * len(self.seen))


class Cut(Exception):
    pass


class CutAt(Callback):
    only_watches = True

    def __init__(self, step: Optional[int]) -> None:
        self.step = step

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step == self.step:
            raise Cut


def made() -> tuple[Any, Any]:
    paddle_resume.seed_everything(1)
    with paddle.utils.unique_name.guard():
        model = Remembering()
        return model, paddle.optimizer.Adam(0.01, parameters=model.parameters())


def trainer(folder: Path, model: Any, optimizer: Any, cut: Optional[int] = None) -> Trainer:
    return Trainer(
        model,
        optimizer,
        loss=paddle.nn.CrossEntropyLoss(),
        callbacks=[CutAt(cut)],
        save_dir=folder,
        schedule=SaveSchedule(every_steps=3, keep=9, background=False),
    )


def train(trainer: Trainer, epochs: int = 3) -> None:
    trainer.train(Points(), epochs=epochs, global_batch_size=8)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    train(trainer(folder, *made()))
    return folder


def test_a_model_that_was_trained_goes_on_in_another_trainer_and_in_another_process(
    straight: Path, tmp_path: Path
) -> None:
    model, optimizer = made()
    for step in (8, 11):  # From steps 6 and 9: the list is not yet in the first of them.
        with pytest.raises(Cut):
            train(trainer(tmp_path, model, optimizer, step))
    train(trainer(tmp_path, *made()))
    assert first_differences(straight, tmp_path) == []


def test_one_trainer_that_is_called_again_leaves_what_one_call_leaves(straight: Path, tmp_path: Path) -> None:
    again = trainer(tmp_path, *made())
    for epochs in (1, 2, 3):
        train(again, epochs)
    assert first_differences(straight, tmp_path) == []


def test_a_copy_of_a_model_begins_anew(straight: Path, tmp_path: Path) -> None:
    model, optimizer = made()
    with pytest.raises(Cut):
        train(trainer(tmp_path / "first", model, optimizer, 8))
    other = copy.deepcopy(model)
    assert not [value for value in vars(other).values() if type(value).__name__ == "Walker"]
