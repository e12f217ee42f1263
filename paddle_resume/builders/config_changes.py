"""Carries out the changes that a resume was allowed: a new schedule takes the place of the old one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paddle.optimizer.lr import LRScheduler

from paddle_resume.builders.lr_schedule import Rate, rates_of_steps
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.config.allowed_changes import AllowedChanges
from paddle_resume.differences import Difference, within
from paddle_resume.lr.stepper import LR_SCOPE
from paddle_resume.lr.warmup import Warmup, waits_for_metric
from paddle_resume.training.run_view import RunView


class ConfigChanges:
    """The `ResumeChanges` of a run that a config describes.

    Another schedule is brought to where it would be if it had been in force from the first step on; a
    ReduceOnPlateau, which nobody can replay, begins (see `SchedulerState`).

    Args:
        allowed: decides which differences were asked for.
        build_rate: gives the rate as it was built for this start, at its beginning.
    """

    def __init__(self, allowed: AllowedChanges, build_rate: Callable[[], Rate]) -> None:
        self._allowed = allowed
        self._build_rate = build_rate

    def wanted(self, differences: Sequence[Difference]) -> list[Difference]:
        """Those that follow from the keys which were allowed to change."""
        return self._allowed.wanted(differences)

    def carry_out(self, run: RunView, restored: Restored) -> None:
        """Put the new schedule in its place, if the learning rate is among what differs."""
        # Of the schedule itself nothing may differ, but only when it moves.
        scopes = [one.scope for one in (*restored.changes, *restored.differences) if one.scope is not None]
        if any(within(key, LR_SCOPE.keys[0]) for scope in scopes for key in scope.keys):
            self._place_schedule(run)

    def _place_schedule(self, run: RunView) -> None:
        current = run.optimizer._learning_rate
        if not isinstance(current, LRScheduler):
            return
        if not waits_for_metric(current):
            rate = self._build_rate()
            for _ in rates_of_steps(rate, run.step, _epoch_ends(run)):
                pass
            # Into the object that is there: an optimizer may hold it in more than one place.
            vars(current).update({name: value for name, value in vars(rate.value).items() if name != "_var_name"})
        elif isinstance(current, Warmup):
            current.last_epoch = run.step
            current.last_lr = current.get_lr()


def _epoch_ends(run: RunView) -> set[int]:
    """After which steps an epoch has ended; earlier ones are taken to have been equally long."""
    finished = run.step if run.is_between_epochs else run.step - run.steps_in_epoch
    epochs = run.epoch + 1 if run.is_between_epochs else run.epoch
    return {round(finished * (epoch + 1) / epochs) for epoch in range(epochs)}
