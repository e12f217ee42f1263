"""Gradients that a save finds: those of a half accumulated step, and which parameters have one at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from small_run import Points

import paddle_resume
from paddle_resume import SaveSchedule, StepOptions, Trainer
from paddle_resume.checkpoint.reader import load
from paddle_resume.errors import StateError


class Branches(nn.Layer):
    """Uses its other branch in some steps only."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.calls = nn.Linear(8, 2), nn.Linear(8, 2), 0

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        self.calls += 1
        return self.one(x) + (self.other(x) if self.calls in (2, 9) else 0)


class EverySecond(Trainer):
    """Makes an update in every second step, with the gradients of both."""

    def train_step(self, batch: Any) -> Any:
        loss, output = self.compute_loss(batch)
        loss.backward()
        if self.step % 2:
            self.optimizer.step()
            self.optimizer.clear_grad()
        return loss, output


def weights(folder: Path, steps: int, kind: Any = Trainer, model: Any = Branches) -> dict[str, np.ndarray]:
    paddle_resume.seed_everything(3)
    net = model()
    trainer = kind(
        net,
        paddle.optimizer.Momentum(0.1, parameters=net.parameters(), weight_decay=0.1),
        loss=nn.CrossEntropyLoss(),
        save_dir=folder,
        schedule=SaveSchedule(every_steps=1, keep=100, background=False),
    )
    trainer.train(Points(), epochs=9, max_steps=steps, global_batch_size=8)
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("kind", [Trainer, EverySecond])
def test_a_run_goes_on_from_any_step_with_the_gradients_it_had(kind: Any, tmp_path: Path) -> None:
    straight = weights(tmp_path / "straight", 12, kind)
    for steps in range(1, 12):
        weights(tmp_path / "resumed", steps, kind)
    resumed = weights(tmp_path / "resumed", 12, kind)
    assert all(np.array_equal(straight[name], resumed[name]) for name in straight)


@pytest.mark.parametrize(("kind", "step"), [(Trainer, 4), (EverySecond, 3)])
def test_it_would_not_without_them(kind: Any, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = weights(tmp_path / "straight", 12, kind)
    monkeypatch.setattr("paddle_resume.owners.gradients.GradientState.set_state_dict", lambda *_: None)
    weights(tmp_path / "resumed", step, kind)
    resumed = weights(tmp_path / "resumed", 12, kind)
    assert not all(np.array_equal(straight[name], resumed[name]) for name in straight)


def test_only_what_no_optimizer_has_used_has_a_file(tmp_path: Path) -> None:
    weights(tmp_path, 4, EverySecond)
    found = [".pdgrad" in load(tmp_path / f"model_step{step}").record.files for step in (1, 2, 3)]
    assert found == [True, False, True]
    weights(tmp_path / "stock", 2)
    assert load(tmp_path / "stock" / "model_step1").record.owners["gradients"] == {
        "otherwise": ["other.weight", "other.bias"]
    }


class Looked(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(16, 8, sparse=True), nn.Linear(8, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.out(self.table((x * 10).astype("int64")).sum(1))


def test_sparse_gradients_that_are_left_are_refused_with_the_parameters_name(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no optimizer has used, of table\.weight.*clear_grad\(\) in each train_step"):
        weights(tmp_path, 4, EverySecond, Looked)
    weights(tmp_path / "stock", 4, Trainer, Looked)


def test_accumulation_of_the_trainers_own_leaves_none(tmp_path: Path) -> None:
    net = Branches()
    trainer = Trainer(
        net,
        paddle.optimizer.SGD(0.1, parameters=net.parameters()),
        loss=nn.CrossEntropyLoss(),
        save_dir=tmp_path,
        step=StepOptions(accumulate_steps=2),
    )
    trainer.train(Points(), epochs=1, global_batch_size=8)
    assert ".pdgrad" not in load(tmp_path / "model_epoch0").record.files
