"""A line between the processes of a run, beside Paddle's collectives: it is patient, and tells who failed.

Paddle's collectives compute. They end a run whose processes come half a minute apart (gloo), or wait for ever
(NCCL), and neither says which process was missing. What the processes have to agree on therefore goes this way.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Optional

from paddle_resume.errors import RankError
from paddle_resume.parallel.line import Line, NotOfThisRun

Combine = Callable[[list[Any]], Any]
_LATER = 15.0  # Rank 0 finds out first who is missing, and tells the others.


@dataclass(frozen=True)
class Failure:
    """Sent in place of a value by a process that ends with an error."""

    rank: int
    text: str
    exit_code: int = 3

    def error(self) -> RankError:
        return RankError(f"rank {self.rank}: {self.text}", self.rank, self.exit_code)


class Channel(ABC):
    """One round at a time: every process gives a value, and every process gets what rank 0 made of all of them."""

    timeout: float

    @abstractmethod
    def round(self, value: Any, combine: Combine) -> Any:
        """`combine` of the values by rank. Raises RankError if a process failed, is gone, or does not come."""

    @abstractmethod
    def send_failure(self, failure: Failure) -> None:
        """Tell the others that this process ends; never raises."""

    @abstractmethod
    def heard(self, seconds: float) -> Optional[RankError]:
        """The failure that arrives within so many seconds, or the end of a process; None if there is none."""

    @abstractmethod
    def close(self) -> None: ...


class Hub(Channel):
    """The end of rank 0, with a line to each of the other ranks."""

    def __init__(self, lines: dict[Line, int], timeout: float) -> None:
        self.timeout = timeout
        self._size = len(lines) + 1
        self._lines = lines

    def round(self, value: Any, combine: Combine) -> Any:
        values = {0: value}
        missing = dict(self._lines)
        until = time.monotonic() + self.timeout
        while missing:
            lines: list[Any] = list(missing)
            ready: list[Any] = wait(lines, max(0.0, until - time.monotonic()))
            if not ready:
                raise self._give_up(Failure(0, _overdue(sorted(missing.values()), self.timeout)))
            for line in ready:
                rank = missing.pop(line)
                got = _receive(line, rank)
                if isinstance(got, Failure):
                    raise self._give_up(got)
                values[rank] = got
        result = combine([values[rank] for rank in range(self._size)])
        for line in self._lines:
            _send(line, result)
        return result

    def send_failure(self, failure: Failure) -> None:
        for line in self._lines:
            _send(line, failure)

    def heard(self, seconds: float) -> Optional[RankError]:
        found = _heard(self._lines, seconds)
        return None if found is None else self._give_up(found)

    def close(self) -> None:
        for line in self._lines:
            line.close()

    def _give_up(self, failure: Failure) -> RankError:
        self.send_failure(failure)
        return failure.error()


class Spoke(Channel):
    """The end of every other rank: a line to rank 0."""

    def __init__(self, line: Line, timeout: float) -> None:
        self.timeout = timeout
        self._line = line

    def round(self, value: Any, combine: Combine) -> Any:
        _send(self._line, value)
        if not self._line.poll(self.timeout + _LATER):
            raise Failure(0, _overdue([0], self.timeout)).error()
        got = _receive(self._line, 0)
        if isinstance(got, Failure):
            raise got.error()
        return got

    def send_failure(self, failure: Failure) -> None:
        _send(self._line, failure)

    def heard(self, seconds: float) -> Optional[RankError]:
        found = _heard({self._line: 0}, seconds)
        return None if found is None else found.error()

    def close(self) -> None:
        self._line.close()


def _send(line: Line, value: Any) -> None:
    with contextlib.suppress(OSError):  # The other end is gone; receiving from it will tell.
        line.send(value)


def _heard(lines: Mapping[Line, int], seconds: float) -> Optional[Failure]:
    """The first failure within so many seconds; another process may have gone on, and say something else before."""
    until = time.monotonic() + seconds
    every: list[Any] = list(lines)
    while ready := wait(every, max(0.0, until - time.monotonic())):
        line: Any
        for line in ready:
            got = _receive(line, lines[line])
            if isinstance(got, Failure):
                return got
    return None


def _receive(line: Line, rank: int) -> Any:
    try:
        return line.receive()
    except NotOfThisRun:
        return Failure(
            rank,
            "a message in its name did not come from it: something between the two alters what they send. Run the "
            "same command again, in a network that you trust.",
        )
    except (EOFError, OSError):
        return Failure(
            rank,
            "it is gone without a word: killed, crashed, or its machine is down. Run the same command again to "
            "continue from the last checkpoint.",
        )


def _overdue(ranks: list[int], seconds: float) -> str:
    who = f"rank {ranks[0]} has" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))} have"
    return (
        f"{who} not come to where the others wait for {seconds:g} s: it hangs, or its machine is gone. Run the same "
        "command again to continue from the last checkpoint; if steps may take that long, raise parallel.timeout."
    )
