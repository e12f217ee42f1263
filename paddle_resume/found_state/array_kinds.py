"""NumPy arrays: filled in place where they are the same object as before, in their own dtype and order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Optional

import numpy as np
import xxhash

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource, is_storable, order_of, raw_bytes


class ArrayKind(Kind):
    """An array whose bytes say all about it."""

    tag = "array"
    types = (np.ndarray,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        digest = xxhash.xxh3_128_digest(raw_bytes(thing))
        return [], (thing.dtype.str, thing.shape, order_of(thing), digest)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return sink.put(path, thing)

    def check(self, saved: Any, source: ArraySource) -> Any:
        return source.get(saved)

    def fits(self, thing: Any, held: Any) -> str:
        if thing.dtype != held.dtype:
            return f"its dtype was {held.dtype} and is {thing.dtype}"
        if thing.shape != held.shape:
            return f"its shape was {list(held.shape)} and is {list(thing.shape)}"
        is_view = thing.base is not None  # of what is put back itself
        return "" if thing.flags.writeable or is_view or _same_bytes(thing, held) else "it is read-only"

    def new(self, cls: type, held: Any) -> Any:
        return held.copy(order="K")

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        if thing.flags.writeable:
            thing[...] = held

    def told(self, thing: Any) -> str:
        return f"an array of {thing.dtype} {list(thing.shape)}"


class ObjectArrayKind(Kind):
    """An array of Python objects, which are its values in the order of its items."""

    tag = "object array"
    types = (np.ndarray,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return list(thing.ravel().tolist()) if thing.ndim else [thing.item()], thing.shape

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return list(thing.shape)

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) > 32 or not all(type(n) is int and 0 <= n < 1 << 24 for n in saved):
            raise Problem("an array of objects comes with its shape")
        return tuple(saved)

    def fits(self, thing: Any, held: Any) -> str:
        return "" if thing.shape == held else f"its shape was {list(held)} and is {list(thing.shape)}"

    def new(self, cls: type, held: Any) -> Any:
        if int(np.prod(held, dtype=object)) >= 1 << 24:
            raise Problem("it has more items than any record")
        return np.empty(held, object)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        if len(values) != thing.size:
            raise Problem(f"an array of shape {list(thing.shape)} cannot hold {len(values)} objects")
        for index, value in zip(np.ndindex(thing.shape), values):
            thing[index] = value


def array_kind(thing: np.ndarray) -> Optional[Kind]:
    """The kind of an array, or None for one of fields, of which the bytes do not say all."""
    if thing.dtype == object:
        return _OBJECTS
    return _PLAIN if is_storable(thing) else None


def _same_bytes(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(raw_bytes(one), raw_bytes(other))


_PLAIN, _OBJECTS = ArrayKind(), ObjectArrayKind()
