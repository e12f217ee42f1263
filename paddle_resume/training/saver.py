"""Carries out a run's save schedule: begins saves, takes notice of what became of them, and answers failures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Optional

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.phases import DONE
from paddle_resume.errors import CheckpointError, SaveError, StateError
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owners
from paddle_resume.training.save_schedule import OFF, MemoryClock, SaveClock, SaveSchedule


class Saver:
    """The saves of one run.

    `landed` is called with the prefix of each checkpoint that has become durable, `tell` with what a person should
    know. Without `has_memory` nothing is kept in memory: the state is in parts, which go to disk.
    """

    def __init__(
        self,
        checkpointer: CheckpointEngine,
        schedule: SaveSchedule,
        *,
        landed: Callable[[Path], None],
        tell: Callable[[str], None],
        world: Optional[World] = None,
        has_memory: bool = True,
    ) -> None:
        self.schedule = schedule
        self.failed: Optional[SaveError] = None
        """Why the latest save failed; None if it did not."""
        self._checkpointer = checkpointer
        self._clock = SaveClock(schedule)
        self._memory_clock = MemoryClock(schedule.memory_now if has_memory else OFF)
        self._landed = landed
        self._tell = tell
        self._world = world or World()
        self._position: Optional[tuple[int, str]] = None
        self._is_ready = False
        self._is_last = False

    def make_ready(self, owners: Callable[[], Owners]) -> None:
        """Have all ready for the first save; called after a first step, when the optimizer has its state."""
        if not self._is_ready:
            self._is_ready = True
            with self._errors():
                self._checkpointer.reserve(owners())

    def is_due(self, step: int) -> bool:
        """Whether a step checkpoint is due at this step, and not left out because the one before is still under way.

        Rank 0 decides, for its clock and its disk are those that count.
        """
        if not self._world.is_main or not self._clock.is_due(step):
            return False
        if self._checkpointer.busy and self.schedule.on_busy == "skip":
            self._tell(f"Skipped the save of step {step}: the one before is still being written.")
            return False
        return True

    def has_saved(self, step: int, phase: str) -> bool:
        """Whether the latest save was made at this very position."""
        return self._position == (step, phase)

    def has_saved_step(self, step: int) -> bool:
        """Whether a checkpoint of this step, from which a resume can begin, was saved, perhaps in an earlier phase.

        One that is saved under the same name after the epoch's end would not be that of a run that was not stopped.
        """
        return self._position is not None and self._position[0] == step

    def begin(
        self,
        owners: Owners,
        *,
        step: int,
        tag: Optional[str],
        epoch: Optional[int],
        phase: str,
        protect: Optional[str] = None,
    ) -> None:
        """Take a snapshot and have it written; the save before is finished first."""
        self.collect(step, wait=True)
        began = time.monotonic()
        with self._errors():
            self._checkpointer.save(step, owners, tag=tag, epoch=epoch, phase=phase, protect=protect)
            if tag != BEST:
                self._clock.began(step, time.monotonic() - began)
                self._position = (step, phase)
                self._is_last = phase == DONE

    def memory_is_due(self, step: int) -> bool:
        """Whether this step is to be kept in memory: that is due, and all that was saved before is durable.

        Rank 0 decides.
        """
        if not self._world.is_main or not self._memory_clock.is_due(step):
            return False
        return not (self._checkpointer.busy or self.has_saved_step(step))

    def keep_in_memory(self, owners: Owners, *, step: int, epoch: Optional[int], phase: str) -> None:
        """Keep this step in memory, from which the same command goes on after a kill; all processes call it."""
        began = time.monotonic()
        try:
            self._checkpointer.save_in_memory(step, owners, epoch=epoch, phase=phase)
        except (OSError, StateError, SaveError, CheckpointError) as error:
            if not (self._world.is_single or isinstance(error, OSError)):
                raise  # The others may not have met with it, and wait.
            # Only a kill costs more now. Where this hinders a save on disk as well, that one will tell.
            self._memory_clock.stop()
            self._checkpointer.forget_memory()
            if isinstance(error, OSError):
                self._tell(f"No checkpoints in memory: {error}. A kill costs the steps since the last one on disk.")
            return
        self._memory_clock.saved(step, time.monotonic() - began)

    def collect(self, step: int, wait: bool = False) -> None:
        """Take notice of a save that has become durable, or has failed, behind training."""
        with self._errors():
            prefix = self._checkpointer.wait() if wait else self._checkpointer.collect()
            if prefix is not None:
                self.failed = None
                picked = self._clock.landed(step)
                if picked:
                    self._tell(picked)
                if self._is_last:
                    self._checkpointer.forget_memory()  # The run is complete.
                self._landed(prefix)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SaveError as error:
            self.failed, self._position = error, None
            if self.schedule.on_error == "stop":
                raise
            self._tell(f"{error} Training goes on and tries again at the next save.")
