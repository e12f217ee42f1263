"""How well a language model predicts tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import paddle

_IGNORED = -100


class Perplexity(paddle.metric.Metric):
    """exp of the mean negative log-likelihood of labels [B, T] under outputs [B, T, C], logits, over all tokens.

    Labels of -100 do not count, as in `paddle.nn.CrossEntropyLoss`.
    """

    def __init__(self, name: str = "perplexity") -> None:
        super().__init__()
        self._name = name
        self._sum = 0.0
        self._tokens = 0

    def compute(self, pred: paddle.Tensor, label: paddle.Tensor) -> Any:
        with paddle.no_grad():
            total = paddle.nn.functional.cross_entropy(pred, label, reduction="sum", ignore_index=_IGNORED)
        return total, np.count_nonzero(label.numpy() != _IGNORED)

    def update(self, *args: Any) -> None:
        total, tokens = args
        self._sum += np.asarray(total).item()
        self._tokens += int(tokens)

    def accumulate(self) -> float:
        try:
            return math.exp(self._sum / self._tokens) if self._tokens else math.inf
        except OverflowError:
            return math.inf

    def reset(self) -> None:
        self._sum, self._tokens = 0.0, 0

    def name(self) -> str:
        return self._name
