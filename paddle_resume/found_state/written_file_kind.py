"""A file that a wrapped program holds open to write to: it is open after a resume too, also if opened in mid-run."""

from __future__ import annotations

import io
import weakref
from collections.abc import Hashable
from typing import Any, NamedTuple, Optional, Protocol

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

_NAMES = ("buffering", "encoding", "errors", "newline")


class Opened(NamedTuple):
    """How a file was opened."""

    name: str
    """The file, as the wrapped run calls it."""
    mode: str
    options: dict[str, Any]
    """Those of `open` after the mode."""

    @classmethod
    def by(cls, name: str, mode: str, args: tuple[Any, ...], options: dict[str, Any]) -> Opened:
        """From the arguments of `open`."""
        given = {**dict(zip(_NAMES, args)), **options}
        return cls(name, mode, {key: given[key] for key in _NAMES if given.get(key) is not None})


class Opener(Protocol):
    """Who opens files once more for a record, and only those that the run has written."""

    def reopen(self, opened: Opened) -> Any:
        """The file, open; raises Problem if it is not the very one."""

    def move(self, handle: Any, opened: Opened) -> None:
        """Have an open file be that one; raises Problem likewise."""


FOLLOWED: weakref.WeakKeyDictionary[Any, Opened] = weakref.WeakKeyDictionary()
"""The open files that a wrapped program writes to."""
OPENER: list[Optional[Opener]] = [None]


class WrittenFileKind(Kind):
    """By which file it is; how far it is written is known to those who follow it."""

    tag = "written file"
    types = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], FOLLOWED[thing].name

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return list(FOLLOWED[thing])

    def check(self, saved: Any, source: ArraySource) -> Any:
        if (
            type(saved) is not list
            or [type(each) for each in saved] != [str, str, dict]
            or not set(saved[2]) <= {*_NAMES}
        ):
            raise Problem("a file that is written has a name, a mode and options, and the record has others")
        return Opened(*saved)

    def new(self, cls: type, held: Any) -> Any:
        return _opener().reopen(held)

    def write(self, thing: Any, labels: Any, values: list[Any], held: Any) -> None:
        now = FOLLOWED.get(thing)
        if now is not None and now.name != held.name:
            _opener().move(thing, held)

    def told(self, thing: Any) -> str:
        return "a file that is written"


def _opener() -> Opener:
    if OPENER[0] is None:
        raise Problem("only a wrapped run opens a file once more")
    return OPENER[0]


WRITTEN_FILE = WrittenFileKind()
