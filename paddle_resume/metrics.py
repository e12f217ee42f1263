"""Running means of loss and metrics, which go on after a resume as if they had never stopped."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import paddle
import xxhash

from paddle_resume.errors import StateError

_IGNORED = -100


class Accuracy(paddle.metric.Metric):
    """Share of labels [B], [B, 1] or [B, T] at which the largest output [B, C] or [B, T, C] is."""

    def __init__(self, name: str = "acc") -> None:
        super().__init__()
        self._name = name
        self._correct = 0
        self._total = 0

    def compute(self, pred: paddle.Tensor, label: paddle.Tensor) -> Any:
        if pred.place.is_cpu_place():
            # NumPy takes a tenth of the time of the operators on so little, and this runs at every step.
            return pred.numpy().argmax(-1).reshape(-1) == label.numpy().reshape(-1)
        return (paddle.argmax(pred, -1).reshape([-1]) == label.reshape([-1])).astype("int64")

    def update(self, *args: np.ndarray) -> None:
        (correct,) = args
        self._correct += int(np.count_nonzero(correct))
        self._total += correct.size

    def accumulate(self) -> float:
        return self._correct / self._total if self._total else 0.0

    def reset(self) -> None:
        self._correct = self._total = 0

    def name(self) -> str:
        return self._name


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


class RunningMetrics:
    """Owner of the means since the last reset: the loss, weighted by samples, and any `paddle.metric.Metric`.

    Losses are taken as tensors and read later, so that a GPU is not waited for at every step.
    """

    def __init__(self, metrics: Sequence[paddle.metric.Metric]) -> None:
        self._metrics = list(metrics)
        # What the arguments made of each: other arguments would make the running values mean something else.
        self._fresh = [xxhash.xxh3_64_hexdigest(repr(_metric_state(metric)).encode()) for metric in self._metrics]
        self._pending: list[tuple[int, paddle.Tensor, int]] = []
        self._loss_sum = 0.0
        self._samples = 0
        self._first_non_finite: Optional[tuple[int, float]] = None

    def fresh(self) -> RunningMetrics:
        """The same metrics, empty, for another pass over other data."""
        other = RunningMetrics([copy.deepcopy(metric) for metric in self._metrics])
        other.reset()
        return other

    def update(self, step: int, loss: paddle.Tensor, output: Any, label: Optional[paddle.Tensor], samples: int) -> None:
        """Take in one batch: its mean loss, its output and label if metrics are wanted, and its size."""
        self._pending.append((step, loss.detach(), samples))
        if output is None or label is None:
            return
        for metric in self._metrics:
            result = metric.compute(output, label)
            parts = result if isinstance(result, (list, tuple)) else [result]
            metric.update(*[p.numpy() if isinstance(p, paddle.Tensor) else p for p in parts])

    def non_finite(self) -> Optional[tuple[int, float]]:
        """(step, value) of the first loss since the last reset that is NaN or infinite."""
        self._drain()
        return self._first_non_finite

    @property
    def samples(self) -> int:
        """How many samples came in since the last reset."""
        self._drain()
        return self._samples

    def results(self) -> dict[str, float]:
        """`loss` and each metric by name, over all that came in since the last reset."""
        self._drain()
        results = {"loss": self._loss_sum / self._samples} if self._samples else {}
        for metric in self._metrics:
            results.update(_named(metric))
        return results

    def reset(self) -> None:
        self._pending.clear()
        self._loss_sum, self._samples, self._first_non_finite = 0.0, 0, None
        for metric in self._metrics:
            metric.reset()

    def state_dict(self) -> dict[str, Any]:
        self._drain()
        return {
            "loss_sum": self._loss_sum,
            "samples": self._samples,
            "metrics": [
                {"class": type(metric).__name__, "fresh": fresh, "state": _metric_state(metric)}
                for metric, fresh in zip(self._metrics, self._fresh)
            ],
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.reset()
        self._loss_sum, self._samples = state["loss_sum"], state["samples"]
        for metric, saved in zip(self._metrics, state["metrics"]):
            if hasattr(metric, "set_state_dict"):
                metric.set_state_dict(saved["state"])
            else:
                vars(metric).update(copy.deepcopy(saved["state"]))

    def differences(self, state: dict[str, Any]) -> list[str]:
        then = [f"{saved['class']} {saved['fresh']}" for saved in state["metrics"]]
        now = [f"{type(metric).__name__} {fresh}" for metric, fresh in zip(self._metrics, self._fresh)]
        return [] if then == now else [f"metrics: {', '.join(then) or 'none'} -> {', '.join(now) or 'none'}"]

    def _drain(self) -> None:
        for step, loss, samples in self._pending:
            value: Any = loss.item()  # float(loss) takes ten times as long.
            if self._first_non_finite is None and not math.isfinite(value):
                self._first_non_finite = (step, value)
            self._loss_sum += value * samples
            self._samples += samples
        self._pending.clear()


def _named(metric: paddle.metric.Metric) -> dict[str, float]:
    names, values = metric.name(), metric.accumulate()
    if isinstance(names, (list, tuple)):
        values = values if isinstance(values, (list, tuple)) else [values]
        return {str(name): float(value) for name, value in zip(names, values)}
    return {str(names): float(values)}


def _metric_state(metric: paddle.metric.Metric) -> dict[str, Any]:
    if hasattr(metric, "state_dict"):
        return metric.state_dict()
    fields = {name: value for name, value in vars(metric).items() if not callable(value)}
    for name, value in fields.items():
        if not _is_plain(value):
            raise StateError(
                f"The metric {type(metric).__name__} holds {name!r} of type {type(value).__name__}, which cannot be "
                "saved. Keep numbers, lists and NumPy arrays in it, or give it state_dict() and set_state_dict()."
            )
    return fields


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, str, np.ndarray, np.generic))
