"""A run of milliseconds: forty points of eight numbers, and a trainer that keeps what it tells."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
from options import grouped

from paddle_resume import Trainer
from paddle_resume.loggers import JsonlLogger


class Points(paddle.io.Dataset):
    """`count` points of eight numbers, labelled by whether their sum is large."""

    def __init__(self, count: int = 40) -> None:
        self.x = np.random.default_rng(0).random((count, 8), np.float32)
        self.y = (self.x.sum(axis=1, keepdims=True) > 4).astype(np.int64)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[index], self.y[index]

    def __len__(self) -> int:
        return len(self.x)


class Kept(Trainer):
    """Keeps what it tells in `told`."""

    derived_attributes = ("told",)

    def tell(self, text: str) -> None:
        self.__dict__.setdefault("told", []).append(text)


def net() -> paddle.nn.Layer:
    return paddle.nn.Sequential(
        paddle.nn.Linear(8, 16), paddle.nn.Tanh(), paddle.nn.Dropout(0.2), paddle.nn.Linear(16, 2)
    )


def trainer(folder: Any, rate: Any = 0.1, model: Callable[[], paddle.nn.Layer] = net, **options: Any) -> Any:
    """A trainer that saves and logs in `folder`; a rate that is a function is called for a new schedule."""
    paddle_resume.seed_everything(3)
    with paddle.utils.unique_name.guard():  # Parameters have the same names as in a process of its own.
        built = model()
    made = Kept(
        built,
        paddle.optimizer.Momentum(rate() if callable(rate) else rate, parameters=built.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        save_dir=folder / "checkpoint",
        model_path=folder / "model.pdparams",
        **grouped(**{"logger": JsonlLogger(folder), "background": False, **options}),
    )
    made.told = []
    return made


def train(made: Any, *, epochs: int = 3, **options: Any) -> Any:
    """Train on 40 points, 5 steps an epoch, and evaluate on 24 of them, at the end on 16."""
    made.train(Points(), Points(24), Points(16), **{"epochs": epochs, "global_batch_size": 8, **options})
    return made


def weights(trained: Any) -> dict[str, bytes]:
    """The bytes of each weight."""
    return {name: tensor.numpy().tobytes() for name, tensor in trained.model.state_dict().items()}
