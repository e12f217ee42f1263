"""One clock for all contestants of a throughput benchmark, so that each is timed over the same stretch."""

from __future__ import annotations

import time
from typing import Optional


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
