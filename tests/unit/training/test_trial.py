"""A trial does all that a training does, and leaves no trace of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import Points

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Best, Callback, Monitoring, SaveSchedule, StepOptions, Trainer, WeightAverage
from paddle_resume.errors import DataError
from paddle_resume.metrics import Accuracy


class Counting(Trainer):
    """Has state of its own, which a resume brings back."""

    steps = 0

    def compute_loss(self, batch: Any) -> Any:
        self.steps = self.steps + 1
        return super().compute_loss(batch)


class Seen(Callback):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_epoch_end(self, trainer: Any) -> None:
        self.epochs.append(trainer.epoch)


def normed() -> paddle.nn.Layer:
    return paddle.nn.Sequential(paddle.nn.Linear(8, 6), paddle.nn.BatchNorm1D(6), paddle.nn.Dropout(0.3), net_end())


def net_end() -> paddle.nn.Layer:
    return paddle.nn.Linear(6, 2)


def make(folder: Path, seen: Seen) -> Trainer:
    paddle_resume.seed_everything(5)
    with paddle.utils.unique_name.guard():
        model = normed()
    rate = paddle.optimizer.lr.ReduceOnPlateau(0.1, patience=0, threshold=0.5)
    return Counting(
        model,
        paddle.optimizer.AdamW(rate, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        metrics=[Accuracy()],
        callbacks=[seen],
        save_dir=folder / "checkpoint",
        model_path=folder / "model.pdparams",
        console=False,
        schedule=SaveSchedule(every_steps=2, background=False),
        monitoring=Monitoring(log_every=2, ema=WeightAverage(0.9), best=Best("valid/loss")),
        step=StepOptions(accumulate_steps=2),
    )


def train(trainer: Trainer) -> dict[str, bytes]:
    trainer.train(Points(), Points(24), epochs=2, global_batch_size=8)
    state = {name: tensor.numpy().tobytes() for name, tensor in trainer.model.state_dict().items()}
    return {**state, "python": repr(random.getstate()).encode(), "numpy": repr(np.random.get_state()).encode()}


def test_a_training_after_a_trial_makes_the_same_bits_as_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, tried = Seen(), Seen()
    straight = make(tmp_path / "straight", plain)
    expected = train(straight)
    trainer = make(tmp_path / "tried", tried)
    trainer.trial(Points(), Points(24), global_batch_size=8)
    assert not (tmp_path / "tried").exists() and trainer.step == 0 and trainer.restored is None
    assert tried.epochs == [] and trainer.steps == 0 and trainer.optimizer.state_dict().keys() == {"LR_Scheduler"}
    said = capsys.readouterr().out
    assert "Trial: all of it works." in said and "3 steps forward and backward with AdamW" in said
    assert "evaluations on valid, saves, a resume from step 1" in said and "1 callback" in said
    assert train(trainer) == expected
    assert (tried.epochs, trainer.steps) == (plain.epochs, straight.steps) and tried.epochs
    for suffix in (".pdparams", ".pdopt", ".pdema"):
        files = [tmp_path / run / "checkpoint" / f"model_epoch1{suffix}" for run in ("straight", "tried")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_trial_of_a_trained_model_leaves_it_as_it_is(tmp_path: Path) -> None:
    trainer = make(tmp_path, Seen())
    before = train(trainer)
    trainer.trial(Points(), global_batch_size=8)
    after = {name: tensor.numpy().tobytes() for name, tensor in trainer.model.state_dict().items()}
    assert after == {name: before[name] for name in after} and trainer.phase == "done"


def test_a_trial_that_fails_raises_what_the_training_would_and_puts_all_back(tmp_path: Path) -> None:
    class Bad(Points):
        def __getitem__(self, index: int) -> Any:
            x, y = super().__getitem__(index)
            return x, y + 9 if index % 2 else y

    trainer = make(tmp_path, Seen())
    weight = next(iter(trainer.model.parameters())).numpy().tobytes()
    with pytest.raises(DataError, match=r"its label is \d+, and the model has 2 outputs"):
        trainer.trial(Bad(), global_batch_size=8)
    assert next(iter(trainer.model.parameters())).numpy().tobytes() == weight
    assert list(tmp_path.iterdir()) == []
