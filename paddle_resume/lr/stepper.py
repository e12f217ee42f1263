"""When the learning rate schedulers of a run step: after each update, each epoch, or each evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import paddle

from paddle_resume.differences import ConfigScope, Difference, compare_fields
from paddle_resume.errors import ConfigError
from paddle_resume.lr.warmup import Warmup, waits_for_metric
from paddle_resume.lr.ways import count_held, is_held

STEP, EPOCH = "step", "epoch"
INTERVALS = (STEP, EPOCH)
LR_SCOPE = ConfigScope(("optimizer.lr",))
"""What in a config decides the learning rate."""


class LRStepper:
    """Steps the schedulers of the optimizers.

    Args:
        optimizers: by name; those with a plain number for a rate are left alone.
        interval: `step` or `epoch`, for every scheduler but ReduceOnPlateau. A warm-up goes by steps in any case.
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

    def state_dict(self) -> dict[str, Any]:
        """When they step; compared on a resume. The schedulers themselves have owners of their own."""
        waiting = [waits_for_metric(scheduler) for scheduler in self._schedulers()]
        return {
            "interval": self._interval if waiting else None,
            "metric": self._metric if any(waiting) else None,
        }

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        now = self.state_dict()
        return compare_fields("learning rate {}", state, now, scope=LR_SCOPE, argument="StepOptions(lr_{}=)")

    def after(self, interval: str) -> None:
        """A `step` or an `epoch` has just ended; raises ConfigError for a schedule that ends here."""
        for scheduler in self._schedulers():
            if interval == STEP and isinstance(scheduler, Warmup) and scheduler.interval == EPOCH:
                scheduler.count_update()
            if interval == self._interval and is_held(scheduler):
                count_held(scheduler)
            elif interval == self._interval and not waits_for_metric(scheduler):
                _step(scheduler)

    def after_evaluation(self, results: Mapping[str, float]) -> None:
        """An evaluation gave these values by tag; raises ConfigError if a ReduceOnPlateau's metric is none of them."""
        for scheduler in self._schedulers():
            if waits_for_metric(scheduler):
                if self._metric not in results:
                    raise ConfigError(
                        f"optimizer.lr.metric: {self._metric} is none of what an evaluation gives: "
                        f"{', '.join(sorted(results))}."
                    )
                _step(scheduler, results[self._metric])

    def _schedulers(self) -> Iterator[Any]:
        for optimizer in self._optimizers.values():
            if isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
                yield optimizer._learning_rate


def _step(scheduler: Any, *metric: float) -> None:
    try:
        scheduler.step(*metric)
    except Exception as error:
        raise ConfigError(
            f"optimizer.lr: the schedule {type(scheduler).__name__} does not go on to position {scheduler.last_epoch}: "
            f"{type(error).__name__}: {error}. Give it more steps, or auto."
        ) from error
