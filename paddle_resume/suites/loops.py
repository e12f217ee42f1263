"""The loops of rewritten modules while they run: each `for` asks here for its iterator, which can be exchanged."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Optional

from paddle_resume.suites.iterators import placed_iterator, reused


class LoopIterator:
    """What a `for` holds on to. Its `inner` iterator tells where the loop stands, and may be another one."""

    __slots__ = ("frame", "given", "inner")

    def __init__(self, inner: Iterator[Any], frame: FrameType) -> None:
        self.inner = inner
        self.given = 0
        """How many items this process has taken."""
        self.frame: Optional[int] = id(frame)

    def __iter__(self) -> LoopIterator:
        return self

    def __next__(self) -> Any:
        try:
            self.given += 1
            return next(self.inner)
        except StopIteration:
            self.frame = None  # It is over, and its frame may be another one soon.
            raise


class RunningLoops:
    """The latest iterator of each `for`, by its code and line."""

    def __init__(self) -> None:
        self._latest: dict[tuple[CodeType, int], LoopIterator] = {}
        self._wanted: Optional[set[tuple[CodeType, int]]] = None

    def begin(self, line: int, iterable: Any) -> Iterator[Any]:
        """Called by a `for` of a rewritten module as it begins."""
        frame = sys._getframe(1)
        key = (frame.f_code, line)
        if self._wanted is not None and key not in self._wanted:
            return iter(iterable)  # No step is made in it: it need not be slower than it was.
        made = LoopIterator(placed_iterator(iterable), frame)
        before = self._latest.get(key)
        if before is not None:
            made.inner = reused(before.inner, made.inner)
        self._latest[key] = made
        return made

    def of(self, frame: FrameType, line: int) -> Optional[LoopIterator]:
        """The iterator of the `for` in this line of the function that is running in `frame`; None for no such loop."""
        found = self._latest.get((frame.f_code, line))
        return found if found is not None and found.frame == id(frame) else None

    def keep_only(self, wanted: set[tuple[CodeType, int]]) -> None:
        """From now on only these loops are taken care of."""
        self._wanted = wanted
        self._latest = {key: latest for key, latest in self._latest.items() if key in wanted}
