"""When the learning rate schedulers of a run step: after each update, each epoch, or each evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import paddle

from paddle_resume.errors import ConfigError

STEP, EPOCH = "step", "epoch"
INTERVALS = (STEP, EPOCH)
_Plateau = paddle.optimizer.lr.ReduceOnPlateau


class RateSteps:
    """Steps the schedulers of the optimizers.

    Args:
        optimizers: by name; those with a plain number for a rate are left alone.
        interval: `step` or `epoch`, for every scheduler but ReduceOnPlateau.
        metric: the tag, such as `valid/loss`, whose value after an evaluation a ReduceOnPlateau steps with.

    Raises ConfigError for another interval.
    """

    def __init__(
        self,
        optimizers: Mapping[str, paddle.optimizer.Optimizer],
        interval: str = STEP,
        metric: str = "valid/loss",
    ) -> None:
        if interval not in INTERVALS:
            raise ConfigError(f"optimizer.lr.interval: {interval!r} is none of {', '.join(INTERVALS)}.")
        self._optimizers = optimizers
        self._interval = interval
        self._metric = metric

    def after(self, interval: str) -> None:
        """A `step` or an `epoch` has just ended."""
        for scheduler in self._schedulers():
            if interval == self._interval and not isinstance(scheduler, _Plateau):
                scheduler.step()

    def after_evaluation(self, results: Mapping[str, float]) -> None:
        """An evaluation gave these values by tag; raises ConfigError if a ReduceOnPlateau's metric is none of them."""
        for scheduler in self._schedulers():
            if isinstance(scheduler, _Plateau):
                if self._metric not in results:
                    raise ConfigError(
                        f"optimizer.lr.metric: {self._metric} is none of what an evaluation gives: "
                        f"{', '.join(sorted(results))}."
                    )
                scheduler.step(results[self._metric])

    def _schedulers(self) -> Iterator[Any]:
        for optimizer in self._optimizers.values():
            if isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
                yield optimizer._learning_rate
