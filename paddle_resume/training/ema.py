"""The exponential moving average of a model's weights, and the model with those weights in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from paddle_resume.checked_arguments import Rule, checked_class
from paddle_resume.differences import Difference, compare_fields
from paddle_resume.owners.model import fill_all
from paddle_resume.owners.tensor_views import KeptViews, fill, view

_DECAY = Rule("a number from 0 to below 1", lambda value: 0 <= value < 1, lambda value: "0.999 is usual")


@checked_class(decay=_DECAY)
class WeightAverage:
    """Owner of the average of a model's weights; its file is a `.pdema`, named and shaped as the `.pdparams`.

    After update number t, counted from 0, each floating parameter and buffer w moves its average a by
    `a += (1 - d) * (w - a)` with `d = min(decay, (1 + t) / (10 + t))`: the warm-up lets a young average follow quickly
    (as in TensorFlow's `ExponentialMovingAverage(num_updates=...)`). Other buffers, such as counters, are copied.

    Args:
        decay: how much of the average stays at each update, from 0 to below 1.
        warmup: whether the decay begins small.
        evaluate: evaluate, and write the finished weights, with the average in place of the weights.

    Raises ConfigError for a decay outside that range.
    """

    suffix = ".pdema"

    def __init__(self, decay: float = 0.999, *, warmup: bool = True, evaluate: bool = True) -> None:
        self.decay = decay
        self.warmup = warmup
        self.evaluate = evaluate
        self.updates = 0
        self._live: dict[str, paddle.Tensor] = {}
        self._average: dict[str, paddle.Tensor] = {}
        self._views = KeptViews()

    def follow(self, model: paddle.nn.Layer) -> None:
        """Begin with the model's weights as they are now."""
        self._live = model.state_dict()
        self._average = {name: _wide(tensor.detach()).clone() for name, tensor in self._live.items()}

    def update(self) -> None:
        """Move the average towards the weights, after an update of them."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        self.updates += 1
        with paddle.no_grad():
            for name, tensor in self._live.items():
                average = self._average[name]
                if _is_float(tensor):
                    average.add_((_wide(tensor) - average) * (1 - decay))
                else:
                    paddle.assign(tensor, average)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average for its weights inside, and its own again afterwards, bit for bit."""
        own = {name: np.array(view(tensor)) for name, tensor in self._live.items()}
        self._fill_model()
        try:
            yield
        finally:
            for name, tensor in self._live.items():
                fill(tensor, own[name])

    def _fill_model(self) -> None:
        for name, tensor in self._live.items():
            fill(tensor, np.array(view(self._average[name].astype(tensor.dtype))))

    def state_dict(self) -> dict[str, Any]:
        return self._views.of(self._average)

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Fill the average; raises CheckpointError listing every name and shape that does not fit."""
        fill_all(self._average, state, "The checkpoint", "the average of the model's weights")


class AverageProgress:
    """Owner of how many updates went into an average, on which its decay depends while it warms up."""

    def __init__(self, average: WeightAverage) -> None:
        self._average = average

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self._average.updates, "decay": self._average.decay, "warmup": self._average.warmup}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self._average.updates = state["updates"]

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        keys = ("decay", "warmup")
        return compare_fields("ema {}", state, self.state_dict(), keys=keys, argument="WeightAverage({}=)")


def _is_float(tensor: paddle.Tensor) -> bool:
    return tensor.dtype in (paddle.float32, paddle.float64, paddle.float16, paddle.bfloat16)


def _wide(tensor: paddle.Tensor) -> paddle.Tensor:
    """The tensor in float32 if it is of a shorter type, in which small moves would be lost."""
    return tensor.astype("float32") if tensor.dtype in (paddle.float16, paddle.bfloat16) else tensor
