"""How long a run is, counted in steps: the one place from which bars, schedules and estimates take it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

from paddle_resume.lr.stepper import STEP


@dataclass(frozen=True)
class RunLength:
    """The length of a run. A step is one optimizer update; the last of an epoch may have fewer batches.

    Args:
        epochs: how many epochs it makes, if `max_steps` does not end it earlier.
        max_steps: None for all epochs.
        batches_per_epoch: None for a stream, whose length is not known.
        accumulate_steps: batches a step.
        batch_size: samples of a full batch, of all processes together.
    """

    epochs: int
    max_steps: Optional[int]
    batches_per_epoch: Optional[int]
    accumulate_steps: int = 1
    batch_size: int = 1

    @property
    def samples_per_step(self) -> int:
        """Samples of a full step, of all processes together."""
        return self.batch_size * self.accumulate_steps

    def steps_of(self, batches: int) -> int:
        """How many steps so many batches of an epoch make."""
        return -(-batches // self.accumulate_steps)

    def where(self, step: int) -> str:
        """What errors call a step: its number in the run, and where lines and bars show it."""
        per_epoch = self.steps_per_epoch
        if not per_epoch:
            return f"step {step} (counted from 0)"
        epoch, of_epoch = divmod(step, per_epoch)
        return f"step {step} (counted from 0; epoch {epoch}, step {of_epoch + 1}/{per_epoch})"

    @property
    def steps_per_epoch(self) -> Optional[int]:
        """None for a stream."""
        return None if self.batches_per_epoch is None else self.steps_of(self.batches_per_epoch)

    @property
    def total_steps(self) -> Optional[int]:
        """All steps of the run; None if that is not known before it ends."""
        per_epoch = self.steps_per_epoch
        limits = [self.max_steps, None if per_epoch is None else per_epoch * self.epochs]
        return min((limit for limit in limits if limit is not None), default=None)

    def moves(self, interval: str) -> Optional[int]:
        """How often a schedule with this interval moves."""
        if interval == STEP:
            return self.total_steps
        if self.total_steps and self.steps_per_epoch:
            return math.ceil(self.total_steps / self.steps_per_epoch)  # max_steps may end the run earlier.
        return self.epochs
