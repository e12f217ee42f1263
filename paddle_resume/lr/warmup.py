"""A linear warm-up in front of any schedule, also of those that Paddle's own LinearWarmup cannot step."""

from __future__ import annotations

from typing import Any, Union

from paddle.optimizer.lr import LRScheduler, ReduceOnPlateau


class Warmup(LRScheduler):
    """Raises the rate in a straight line over the first updates, and then leaves it to `learning_rate`.

    Update k of the warm-up (counted from 0) is made with `start_lr + (first - start_lr) * k / steps`, where
    `first` is the first rate of the schedule; the schedule itself begins with update `steps` and is then stepped
    exactly as it would be alone. It is not moved with `step(epoch)` as in LinearWarmup, for which ReduceOnPlateau
    has no use and by which CosineAnnealingWarmRestarts can miss a restart.

    Args:
        learning_rate: a schedule, or the rate that stays after the warm-up.
        steps: updates of the warm-up.
        start_lr: the rate of the first update.
        interval: `step` if `step()` is called after each update. `epoch` if it is called at the end of an epoch
            or with the metric of a ReduceOnPlateau; then `count_update()` is to be called after each update, and
            an epoch that lies wholly in the warm-up does not move the schedule.

    Raises ValueError for `steps` below 1, a negative `start_lr`, or another interval.
    """

    def __init__(
        self,
        learning_rate: Union[float, LRScheduler],
        steps: int,
        start_lr: float = 0.0,
        interval: str = "step",
    ) -> None:
        if type(steps) is not int or steps < 1:
            raise ValueError(f"steps is a whole number of 1 or more, found {steps!r}")
        if start_lr < 0:
            raise ValueError(f"start_lr is 0 or more, found {start_lr!r}")
        if interval not in ("step", "epoch"):
            raise ValueError(f"interval is step or epoch, found {interval!r}")
        if isinstance(learning_rate, ReduceOnPlateau) and interval == "step":
            raise ValueError("a ReduceOnPlateau steps on a metric; give interval='epoch' and count_update()")
        # Not by way of the base class, which would make the first step here.
        self.learning_rate = learning_rate
        self.steps = steps
        self.start_lr = float(start_lr)
        self.interval = interval
        self.last_epoch = 0
        """Updates made so far. (Its name is Paddle's, for whom an epoch is whatever a schedule counts.)"""
        self.verbose = False
        self._var_name = None
        self.last_lr = self.get_lr()

    def count_update(self) -> None:
        """Take notice of an update; only for `interval="epoch"`, since `step()` does it otherwise."""
        self.last_epoch += 1
        self.last_lr = self.get_lr()

    def step(self, metrics: Any = None) -> None:
        """Move on by one, or give the schedule its metric if it is a ReduceOnPlateau.

        Raises ValueError for a metric that nothing waits for: `step(epoch)` of other schedules jumps, this does not.
        """
        if metrics is not None and not isinstance(self.learning_rate, ReduceOnPlateau):
            raise ValueError("Warmup.step() takes a metric for a ReduceOnPlateau only, and cannot jump to an epoch")
        if self.interval == "step":
            self.last_epoch += 1
        if self.last_epoch > self.steps and isinstance(self.learning_rate, LRScheduler):
            self.learning_rate.step(*([] if metrics is None else [metrics]))
        self.last_lr = self.get_lr()

    def get_lr(self) -> float:
        rate = self.learning_rate() if isinstance(self.learning_rate, LRScheduler) else float(self.learning_rate)
        if self.last_epoch >= self.steps:
            return rate
        return self.start_lr + (rate - self.start_lr) * self.last_epoch / self.steps


def waits_for_metric(scheduler: Any) -> bool:
    """Whether `scheduler` is a ReduceOnPlateau, with or without a Warmup before it."""
    inner = scheduler.learning_rate if isinstance(scheduler, Warmup) else scheduler
    return isinstance(inner, ReduceOnPlateau)
