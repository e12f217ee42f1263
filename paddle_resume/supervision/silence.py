"""Notices which ranks have not been heard of for too long, and asks them where they stand."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import psutil

from paddle_resume.supervision.heartbeat import STACK_SIGNAL, Beat, read_beats, stack_path

MOST_STACKS = 4
"""Of so many ranks the stacks are asked for."""
_PAUSE_SECONDS = 5.0
_MOST_LINES = 40


@dataclass(frozen=True)
class Silent:
    """A rank whose process lives, but has not beaten for `seconds`."""

    beat: Beat
    seconds: float
    state: str
    """What the kernel says of its process, such as `stopped` or `sleeping`."""

    def __str__(self) -> str:
        said = f"rank {self.beat.rank} (step {self.beat.step}, {self.beat.phase}, pid {self.beat.pid}, {self.state})"
        return f"{said} for {self.seconds:.0f} s"


class Silence:
    """Watches the heartbeats in a folder.

    Ages are measured by this process, from when it saw the file change: a clock that is set does no harm.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._heard: dict[int, tuple[Beat, float]] = {}
        self._last_look = time.monotonic()

    @property
    def furthest(self) -> Optional[Beat]:
        """The heartbeat of the rank that came furthest; None if none has beaten."""
        return max((beat for beat, _ in self._heard.values()), key=lambda beat: beat.step, default=None)

    def look(self) -> None:
        """Read the heartbeats."""
        now = time.monotonic()
        pause, self._last_look = now - self._last_look, now
        if pause > _PAUSE_SECONDS:  # The whole machine was suspended, and nobody could beat.
            self._heard = {rank: (beat, since + pause) for rank, (beat, since) in self._heard.items()}
        for beat in read_beats(self._folder):
            if beat.rank not in self._heard or self._heard[beat.rank][0] != beat:
                self._heard[beat.rank] = beat, now

    @property
    def beats(self) -> list[Beat]:
        """The last heartbeat of each rank."""
        return [beat for beat, _ in self._heard.values()]

    def hanging(self, limit: float) -> list[Silent]:
        """The ranks to look at once any has been silent for more than `limit` seconds; empty before.

        Where one rank hangs the others soon wait for it, each a little earlier or later. So all that are silent for
        half the time are given: those furthest behind first, and of those the ones that are silent longest. A rank
        whose process has ended is not silent but done.
        """
        now = time.monotonic()
        found = [
            Silent(beat, now - since, state)
            for beat, since in self._heard.values()
            if now - since > limit / 2 and (state := process_state(beat.pid))
        ]
        if not any(silent.seconds > limit for silent in found):
            return []
        return sorted(found, key=lambda silent: (silent.beat.step, -silent.seconds))


def ask_for_stacks(folder: Path, silent: Sequence[Silent]) -> None:
    """Have the first few ranks write their Python stacks, which they do within moments if they can at all."""
    for each in silent[:MOST_STACKS]:
        if stack_path(folder, each.beat.rank).exists():  # Else the signal would only kill it.
            with suppress(OSError):
                os.kill(each.beat.pid, STACK_SIGNAL)
                os.kill(each.beat.pid, signal.SIGCONT)


def read_stacks(folder: Path, silent: Sequence[Silent]) -> dict[int, list[str]]:
    """The lines of the stacks that have been written, by rank."""
    found = {}
    for each in silent[:MOST_STACKS]:
        with suppress(OSError):
            text = stack_path(folder, each.beat.rank).read_text(encoding="utf-8", errors="replace")
            if text:
                found[each.beat.rank] = text.splitlines()[:_MOST_LINES]
    return found


def process_state(pid: int) -> str:
    """The state of a process; empty if it has ended."""
    try:
        state = psutil.Process(pid).status()
    except psutil.Error:
        return ""
    return "" if state in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else str(state)
