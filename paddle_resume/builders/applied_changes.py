"""Carries out the changes that a resume was allowed: the new schedule takes its place, and a checkpoint keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from paddle.optimizer.lr import LRScheduler

from paddle_resume.builders.lr_schedule import Rate, rates_of_steps
from paddle_resume.checkpoint.phases import DONE
from paddle_resume.lr.warmup import Warmup, waits_for_metric
from paddle_resume.training.callbacks import Callback

if TYPE_CHECKING:
    from paddle_resume.training.trainer import Trainer


class Changes(Callback):
    """Before the first step after a resume with changes, makes them part of the run.

    Another schedule is brought to where it would be if it had been in force from the first step on; a
    ReduceOnPlateau, which nobody can replay, begins (see `SchedulerState`). Then a checkpoint is saved, so that the
    same command needs no permission again, and a rollback goes back no further than this.

    Args:
        build_rate: gives the rate as it was built for this start, at its beginning.
        accumulate_steps: batches a step.
    """

    def __init__(self, build_rate: Callable[[], Rate], accumulate_steps: int = 1) -> None:
        self._build_rate = build_rate
        self._accumulate_steps = accumulate_steps

    def on_train_begin(self, trainer: Trainer) -> None:
        restored = trainer.restored
        if restored is None:
            return
        # Of the schedule itself nothing may differ, but only when it moves.
        if any(line.startswith(("learning rate", "optimizer.lr")) for line in restored.changes + restored.differences):
            self._place_schedule(trainer)
        if restored.changes and trainer.progress.phase != DONE:
            tag = f"step{trainer.progress.step}"
            trainer.divergence.target = f"{trainer.checkpointer.name}_{tag}"
            trainer.save(tag)

    def _place_schedule(self, trainer: Trainer) -> None:
        optimizer, steps = trainer.optimizer, trainer.progress.step
        current = optimizer._learning_rate  # type: ignore[union-attr]
        if not isinstance(current, LRScheduler):
            return
        if not waits_for_metric(current):
            rate = self._build_rate()
            for _ in rates_of_steps(rate, steps, self._epoch_ends(trainer)):
                pass
            # Into the object that is there: an optimizer may hold it in more than one place.
            vars(current).update({name: value for name, value in vars(rate.value).items() if name != "_var_name"})
        elif isinstance(current, Warmup):
            current.last_epoch = steps
            current.last_lr = current.get_lr()

    def _epoch_ends(self, trainer: Trainer) -> set[int]:
        """After which steps an epoch has ended; earlier ones are taken to have been equally long."""
        feed = trainer.feed
        assert feed is not None
        under_way = 0 if feed.between_epochs else -(-feed.steps_in_epoch // self._accumulate_steps)
        finished = trainer.progress.step - under_way
        return {round(finished * (epoch + 1) / feed.epoch) for epoch in range(feed.epoch)}
