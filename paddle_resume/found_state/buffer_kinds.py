"""Memory and text that change in place: bytes, `io` buffers, and numbers of C, also those that processes share."""

from __future__ import annotations

import ctypes
import io
import multiprocessing.sharedctypes as shared
from array import array
from collections.abc import Hashable, Sequence
from typing import Any, Optional

import numpy as np

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

_NUMBERS_OF_C = frozenset("?cbBhHiIlLqQfdg")
_MOST_BEYOND = 1 << 20  # of a position beyond the end: what is written there fills up the space before it


class BytesKind(Kind):
    """A bytearray, an `array.array` or a `BytesIO`: bytes that change in place, and of the last one its position."""

    tag = "bytes"
    types = (bytearray, array, io.BytesIO)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], self._content(thing)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        kind, raw, position = self._content(thing)
        return [kind, position, sink.put(path, np.frombuffer(raw, np.uint8))]

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) != 3 or type(saved[0]) is not str or type(saved[1]) is not int:
            raise Problem("bytes come with their kind and position")
        kind, position, where = saved
        raw = source.get(where).tobytes()
        if kind not in ("bytearray", "BytesIO") and (len(kind) != 1 or kind not in "bBuhHiIlLqQfd"):
            raise Problem(f"there are no bytes of kind {kind[:40]!r}")
        if not 0 <= position <= len(raw) + _MOST_BEYOND:
            raise Problem(f"bytes have no position {str(position)[:40]}")
        return kind, raw, position

    def fits(self, thing: Any, held: Any) -> str:
        kind = self._content(thing)[0]
        return "" if kind == held[0] else f"it held {held[0]} and now {kind}"

    def new(self, cls: type, held: Any) -> Any:
        kind = held[0]
        return bytearray() if kind == "bytearray" else io.BytesIO() if kind == "BytesIO" else array(kind)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        kind, raw, position = held
        if kind == "BytesIO":
            thing.seek(0)
            thing.truncate()
            thing.write(raw)
            thing.seek(position)
        elif kind == "bytearray":
            thing[:] = raw
        else:
            del thing[:]
            thing.frombytes(raw)

    @staticmethod
    def _content(thing: Any) -> tuple[str, bytes, int]:
        if type(thing) is bytearray:
            return "bytearray", bytes(thing), 0
        if type(thing) is array:
            return thing.typecode, thing.tobytes(), 0
        return "BytesIO", thing.getvalue(), thing.tell()


class TextBufferKind(Kind):
    """A `StringIO`, with its position."""

    tag = "text buffer"
    types = (io.StringIO,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], None if thing.closed else (thing.getvalue(), thing.tell())

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        """Raises Problem for one that is closed."""
        if thing.closed:
            raise Problem("a StringIO that is closed")
        raw = thing.getvalue().encode("utf-8", "surrogatepass")
        return [thing.tell(), sink.put(path, np.frombuffer(raw, np.uint8))]

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) != 2 or type(saved[0]) is not int:
            raise Problem("a StringIO comes with its position and its text")
        text = source.get(saved[1]).tobytes().decode("utf-8", "surrogatepass")
        if not 0 <= saved[0] <= len(text) + _MOST_BEYOND:
            raise Problem(f"a StringIO has no position {str(saved[0])[:40]}")
        return saved[0], text

    def new(self, cls: type, held: Any) -> Any:
        return io.StringIO(newline="")

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        thing.seek(0)
        thing.truncate()
        thing.write(held[1])
        thing.seek(held[0])


class NumbersOfCKind(Kind):
    """A number, an array or a structure of ctypes, also one that processes share: a `multiprocessing.Value`."""

    tag = "numbers of C"

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], _raw(thing)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return sink.put(path, np.frombuffer(_raw(thing), np.uint8))

    def check(self, saved: Any, source: ArraySource) -> Any:
        return source.get(saved).tobytes()

    def fits(self, thing: Any, held: Any) -> str:
        now = len(_raw(thing))
        return "" if now == len(held) else f"it had {len(held)} bytes and has {now}"

    def new(self, cls: type, held: Any) -> Any:
        raise Problem("numbers of C are not made from a record")

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        inside = _inside(thing)
        ctypes.memmove(ctypes.addressof(inside), held, ctypes.sizeof(inside))

    def is_of(self, cls: type) -> bool:
        return False


SHARED = (shared.SynchronizedBase,)


def is_number_of_c(cls: Any) -> bool:
    """Whether a class of ctypes has numbers alone, and no pointers."""
    if issubclass(cls, ctypes._SimpleCData):
        return getattr(cls, "_type_", "") in _NUMBERS_OF_C
    if issubclass(cls, ctypes.Array):
        return is_number_of_c(cls._type_)
    if issubclass(cls, ctypes.Structure):
        return all(is_number_of_c(field[1]) for field in getattr(cls, "_fields_", ()))
    return False


def _inside(thing: Any) -> Any:
    return vars(thing)["_obj"] if isinstance(thing, SHARED) else thing


def _raw(thing: Any) -> bytes:
    inside = _inside(thing)
    if not is_number_of_c(type(inside)):
        raise Problem("pointers of C")
    return ctypes.string_at(ctypes.addressof(inside), ctypes.sizeof(inside))
