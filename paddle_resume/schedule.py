"""When a checkpoint is due, what it is called, and what happens when a save fails."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class SaveSchedule:
    """How often a run saves itself; None switches one of the three off. The end of a run is always saved."""

    every_epochs: Optional[int] = 1
    every_steps: Optional[int] = None
    every_minutes: Optional[float] = None
    on_error: str = "continue"
    """After a failed save: `continue` (try again at the next one) or `stop`."""

    def epoch_is_due(self, epoch: int) -> bool:
        return self.every_epochs is not None and (epoch + 1) % self.every_epochs == 0


class SaveClock:
    """Tells at each step whether a step checkpoint is due."""

    def __init__(self, schedule: SaveSchedule) -> None:
        self._every_steps = schedule.every_steps
        self._every_seconds = schedule.every_minutes * 60 if schedule.every_minutes else None
        self._last = time.monotonic()

    def is_due(self, step: int) -> bool:
        if self._every_steps and step % self._every_steps == 0:
            return True
        return self._every_seconds is not None and time.monotonic() - self._last >= self._every_seconds

    def saved(self) -> None:
        """Start the minutes anew."""
        self._last = time.monotonic()
