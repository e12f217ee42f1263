"""Ctrl-C and SIGTERM, noted when they come and answered at the next step boundary."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Optional

from paddle_resume.parallel.world import World

# A launcher may send SIGTERM several times in quick succession; only a person repeats Ctrl-C after a pause.
_IMPATIENCE_SECONDS = 1.0


class Interruption(Exception):
    """Raised at a boundary after a signal came, so that the run can save and leave."""


class SignalWatch:
    """Within the `with` block, SIGINT and SIGTERM only set `signum`; a second, later Ctrl-C stops at once.

    Stopping at once loses nothing that was saved: a save that is cut short leaves the checkpoint before it.
    """

    def __init__(self) -> None:
        self.signum: Optional[int] = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalWatch:
        self.signum = None
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._note)
                # Paddle's own connections take a call that a signal interrupts for a broken one.
                signal.siginterrupt(signum, False)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()
        self.signum = None

    def check(self, world: Optional[World] = None, agreed: Optional[int] = None) -> None:
        """Raise Interruption if a signal has come; among several processes, if they agreed that one has."""
        if world is not None and not world.is_single:
            self.signum = agreed or self.signum
            if agreed is None:
                return
        if self.signum is not None:
            raise Interruption

    def leave(self) -> None:
        """End as a process ends that got this signal: KeyboardInterrupt, or SystemExit with 143."""
        if self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)

    def _note(self, signum: int, frame: Optional[FrameType]) -> None:
        now = time.monotonic()
        if self.signum == signal.SIGINT == signum and now - self._since > _IMPATIENCE_SECONDS:
            raise KeyboardInterrupt
        if self.signum is None:
            self.signum, self._since = signum, now
