"""One file that a wrapped program writes: how far it is written, and how it is brought back to there."""

from __future__ import annotations

import builtins
import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional

import xxhash

plain_open: Callable[..., Any] = builtins.open
WRITES = frozenset("wax+")
"""Of the letters of a mode those of a file that may be written to."""
ABSENT = -1
"""The size of a file that is not there."""
_TAIL = 4096
"""How many bytes before its end tell that a file is still the one that it was."""
_MOST_HANDLES = 16


class Written:
    """A file that was opened to be written in this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_appended_to = False
        self.handles: list[weakref.ref[Any]] = []

    def opened(self, handle: Any, appends: bool) -> None:
        """It was opened once more."""
        self.is_appended_to = appends
        if len(self.handles) > _MOST_HANDLES:
            self.open_handles()
        self.handles.append(weakref.ref(handle))

    def closed(self, handle: Any) -> None:
        """This one writes to it no more."""
        self.handles = [each for each in self.handles if each() is not handle]

    @property
    def is_written_on(self) -> bool:
        """Whether it is not written anew each time."""
        return (self.is_appended_to or bool(self.open_handles())) and self.path.is_file()

    def open_handles(self) -> list[Any]:
        """Those that are still open, in the order in which they were made."""
        alive = [handle for handle in (each() for each in self.handles) if handle is not None and not handle.closed]
        self.handles = [weakref.ref(handle) for handle in alive]
        return alive

    def state(self) -> dict[str, Any]:
        """How long it is and what it ends with, if it is being written on, and where those who write stand.

        A file that was written and closed is written anew as a whole, or not at all: nothing of it needs to be known.
        """
        handles = self.open_handles()
        for handle in handles:
            with suppress(ValueError, OSError):
                handle.flush()
        if not self.is_written_on:
            return {"size": None, "tail": "", "places": []}
        size = self.path.stat().st_size
        places = [os.lseek(handle.fileno(), 0, os.SEEK_CUR) for handle in handles]
        return {"size": size, "tail": _tail(self.path, size), "places": places}


def begins_as(path: Path, entry: Optional[Mapping[str, Any]]) -> bool:
    """Whether a file begins as its `state` tells, which is at least a byte."""
    if entry is None or not entry["size"]:
        return False
    size = entry["size"]
    return size_of(path) >= size and _tail(path, size) == entry["tail"]


def cut(path: Path, entry: Mapping[str, Any]) -> bool:
    """Cut a file back to what its `state` was; False if it does not begin so any more."""
    size = entry["size"]
    if size and not begins_as(path, entry):
        return False
    if size is not None and size_of(path) > size:
        os.truncate(path, size)
    return True


def take_back(path: Path, size: int, file: tuple[int, int]) -> None:
    """Have a file be as long as it was, or not there; it is left alone if it is not that very one."""
    if place_of(path) != file:
        return
    if size == ABSENT:
        path.unlink()
    elif 0 <= size < size_of(path):
        os.truncate(path, size)


def place_of(path: Path) -> Optional[tuple[int, int]]:
    """The disk of a regular file, and its number there; None for no such file."""
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_dev, status.st_ino


def is_size(value: Any) -> bool:
    """Whether it can be that of a file."""
    return type(value) is int and value >= 0


def is_sound(entry: Any) -> bool:
    """Whether it can be what `state` gave."""
    if not isinstance(entry, Mapping):
        return False
    size, tail, places = entry.get("size"), entry.get("tail"), entry.get("places")
    are_places = type(places) is list and all(map(is_size, places))
    return (size is None or is_size(size)) and type(tail) is str and are_places


def size_of(path: Path) -> int:
    """0 for none."""
    return path.stat().st_size if path.is_file() else 0


def _tail(path: Path, size: int) -> str:
    with plain_open(path, "rb") as file:
        file.seek(max(0, size - _TAIL))
        return xxhash.xxh3_128(file.read(min(size, _TAIL))).hexdigest()


def put_to(handle: Any, path: Path, mode: str, place: Optional[int]) -> None:
    """Have an open file write to the one at `path`, opened in this mode, from this place, or from its end for None."""
    handle.flush()
    flags = os.O_RDWR if "+" in mode else os.O_WRONLY
    real = os.open(path, flags | (os.O_APPEND if "a" in mode else 0) | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.dup2(real, handle.fileno(), inheritable=False)
    finally:
        os.close(real)
    if place is None or "a" in mode:
        handle.seek(0, os.SEEK_END)
    else:
        handle.seek(place)
