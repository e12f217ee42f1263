"""Decides about what differs from a run's checkpoint, says how it can go on, and carries out what was allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from paddle.optimizer.lr import LRScheduler

from paddle_resume.builders.lr_schedule import Rate, rates_of_steps
from paddle_resume.builders.refusal_text import explain_config
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.checkpoint.resume_errors import Refusal
from paddle_resume.config.allowed_changes import AllowedChanges
from paddle_resume.differences import Difference, within
from paddle_resume.lr.stepper import LR_SCOPE
from paddle_resume.lr.warmup import Warmup, waits_for_metric
from paddle_resume.lr.ways import HOLD, REPLAN, RESTART
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.training.resume_changes import require_way
from paddle_resume.training.run_length import RunLength
from paddle_resume.training.run_view import RunView

BuildRate = Callable[[Optional[RunLength]], Rate]


class ConfigChanges:
    """The `ResumeChanges` of a run that a config describes.

    Another schedule goes on in the way that was asked for: brought to where it would be if it had been in force from
    the first step on, begun here over the steps that are left, or the old one held at its end. A ReduceOnPlateau,
    which nobody can replay, begins (see `SchedulerState`).

    Args:
        overrides: texts `key=value` of the command.
        allow: whether differences in their keys are allowed.
        lr_change: the way in which a learning rate that is another goes on, which allows it too; None allows none.
        counted: keys whose value was `auto`.
        length_keys: keys on which the number for `auto` depends, with all below them.
        build_rate: gives the rate at its beginning, as it was built for this start, or for a run of another length.
        run_name: what the config calls the run.

    Raises ConfigError for another way.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        allow: bool,
        lr_change: Optional[str],
        *,
        counted: Sequence[str],
        length_keys: Sequence[str],
        build_rate: BuildRate,
        run_name: str,
    ) -> None:
        require_way(lr_change, "--lr-change")
        self.lr_change = lr_change or REPLAN
        self._overrides = overrides
        self._counted = counted
        self._length_keys = length_keys
        self._build_rate = build_rate
        self._run_name = run_name
        self._allowed = self._allowing(
            [*(overrides if allow else ()), *(LR_SCOPE.keys if lr_change is not None else ())]
        )

    def wanted(self, differences: Sequence[Difference]) -> list[Difference]:
        """Those that follow from the keys which were allowed to change."""
        return self._allowed.wanted(differences)

    def explain(self, refusal: Refusal, schedulers: Mapping[str, SchedulerState]) -> str:
        """Each key that is another, and the command that goes on."""
        return explain_config(refusal, schedulers, self._overrides, self._allowing, self._counted, self._run_name)

    def carry_out(self, run: RunView, restored: Restored) -> None:
        """Put the new schedule in its place, if the learning rate is among what differs."""
        # Of the schedule itself nothing may differ, but only when it moves.
        scopes = [one.scope for one in (*restored.changes, *restored.differences) if one.scope is not None]
        if any(within(key, LR_SCOPE.keys[0]) for scope in scopes for key in scope.keys):
            self._place_schedule(run)

    def _allowing(self, overrides: Sequence[str]) -> AllowedChanges:
        return AllowedChanges(overrides, self._counted, self._length_keys)

    def _place_schedule(self, run: RunView) -> None:
        current = run.optimizer._learning_rate
        if not isinstance(current, LRScheduler) or self.lr_change == HOLD:
            return
        if not waits_for_metric(current):
            rate = self._build_rate(_left(run) if self.lr_change == RESTART else None)
            for _ in rates_of_steps(rate, 0 if self.lr_change == RESTART else run.step, _epoch_ends(run)):
                pass
            # Into the object that is there: an optimizer may hold it in more than one place.
            vars(current).update({name: value for name, value in vars(rate.value).items() if name != "_var_name"})
        elif isinstance(current, Warmup):
            current.last_epoch = run.step
            current.last_lr = current.get_lr()


def _left(run: RunView) -> RunLength:
    """What is left of the run, as the length of one that begins here."""
    length = run.length
    epochs = run.epoch + 1 if run.is_between_epochs else run.epoch
    total = length.total_steps
    return RunLength(
        max(1, length.epochs - epochs),
        None if total is None else max(1, total - run.step),
        length.batches_per_epoch,
        length.accumulate_steps,
        length.batch_size,
    )


def _epoch_ends(run: RunView) -> set[int]:
    """After which steps an epoch has ended; earlier ones are taken to have been equally long."""
    finished = run.step if run.is_between_epochs else run.step - run.steps_in_epoch
    epochs = run.epoch + 1 if run.is_between_epochs else run.epoch
    return {round(finished * (epoch + 1) / epochs) for epoch in range(epochs)}
