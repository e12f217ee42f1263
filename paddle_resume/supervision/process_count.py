"""How many processes the next attempt of an elastic run has: what is left when some were lost."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from paddle_resume.errors import ConfigError
from paddle_resume.supervision.heartbeat import Beat
from paddle_resume.supervision.silence import process_state

PLACE = "{processes}"
"""Stands in the command for the number of processes."""
PLACE_WITH_SERVER = "{processes+1}"
"""For one more, where one of them is a parameter server."""


class ProcessCount:
    """A power of two from `least` to `most`; after an attempt that lost processes, as many as are left.

    A process is lost if it was gone while others of its attempt still lived: these end by themselves a moment later.
    Where all ended together, as by an error that all of them met, nothing was lost. Raises ConfigError for numbers
    that cannot be, and for a command in which no place says where the number goes.
    """

    def __init__(self, command: Sequence[str], least: int, most: int) -> None:
        for option, value in (("--min-processes", least), ("--max-processes", most)):
            if value < 1 or value & (value - 1):
                raise ConfigError(f"{option} is {value}: an elastic run has 1, 2, 4, 8, ... processes.")
        if least > most:
            raise ConfigError(f"--min-processes is {least}, more than --max-processes {most}.")
        if not any(place in part for part in command for place in (PLACE, PLACE_WITH_SERVER)):
            raise ConfigError(
                f"With --max-processes the command has to say where the number of processes goes, as {PLACE}: "
                f"-- python -m paddle.distributed.launch --nproc_per_node {PLACE} tools/train.py -c ... "
                f"(with parallel.exchange: server {PLACE_WITH_SERVER})."
            )
        self._command = command
        self._least = least
        self.now = most
        self._lost = 0

    def command(self) -> list[str]:
        """The command of the next attempt."""
        self._lost = 0
        numbers = {PLACE: self.now, PLACE_WITH_SERVER: self.now + 1}
        parts = list(self._command)
        for place, number in numbers.items():
            parts = [part.replace(place, str(number)) for part in parts]
        return parts

    def look(self, beats: Iterable[Beat]) -> None:
        """See which ranks of this machine are gone, while others live; what was lost first counts."""
        here = [beat for beat in beats if beat.host == socket.gethostname()]
        gone = sum(not process_state(beat.pid) for beat in here)
        if not self._lost and 0 < gone < len(here):
            self._lost = gone

    def after_crash(self) -> str:
        """Settle on the next number; what is to be said of it, or an empty text."""
        before, left = self.now, max(1, self.now - self._lost)
        self.now = max(self._least, 1 << (left.bit_length() - 1))
        if self.now == before:
            return ""
        return (
            f", with {self.now} of {before} processes, since {self._lost} {'was' if self._lost == 1 else 'were'} lost"
        )
