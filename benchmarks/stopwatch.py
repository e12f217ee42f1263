"""One clock for all contestants of a benchmark, so that each is timed over the same stretch, and one for the rest."""

from __future__ import annotations

import os
import time
from typing import Optional

import psutil


class Stopwatch:
    """Times `steps` steps after `warmup` of them (at least 1): call `step_done` at the end of each."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.total = warmup + steps
        self.seconds: Optional[float] = None
        self._warmup = warmup
        self._done = 0
        self._begun = 0.0

    def step_done(self) -> None:
        self._done += 1
        if self._done == self._warmup:
            self._begun = time.perf_counter()
        elif self._done == self.total:
            self.seconds = time.perf_counter() - self._begun


class OtherWork:
    """How busy the processors are, from here on, with what neither this process nor its children do."""

    def __init__(self) -> None:
        self._begun = _processor_seconds()

    @property
    def share(self) -> float:
        """The part of all processors' time, 0 to 1; of children it counts those that have ended."""
        whole, busy, own = (now - then for now, then in zip(_processor_seconds(), self._begun))
        return min(1.0, max(0.0, (busy - own) / whole)) if whole else 0.0


def _processor_seconds() -> tuple[float, float, float]:
    """Of all processors together: seconds that passed, that they worked, and that they worked for this process."""
    times, own = psutil.cpu_times(), os.times()
    waited = times.idle + getattr(times, "iowait", 0.0)
    # A guest's time is part of user time as well.
    whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return whole, whole - waited, sum(own[:4])
