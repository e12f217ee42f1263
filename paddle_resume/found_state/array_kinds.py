"""NumPy arrays: filled in place where they are the same object as before, in their own dtype and order."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, Optional

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
        return [], (thing.dtype.str, thing.shape, order_of(thing), _digest(thing))

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


class _Constant(NamedTuple):
    """The digest of an array that lies in `bytes`, which nothing can change."""

    array: weakref.ref[np.ndarray]
    base: Any
    form: tuple[Any, ...]
    digest: bytes


_CONSTANTS: dict[int, _Constant] = {}
"""By the id of the array. One counts as long as that array lies in the same bytes, in the same form."""


def _digest(array: np.ndarray) -> bytes:
    """Of what may be changed it is taken anew each time, also where this array is a view that only reads."""
    base, form, key = array.base, (array.dtype, array.shape, array.strides), id(array)
    while type(base) is np.ndarray:
        base = base.base
    if type(base) is not bytes or array.flags.writeable:
        return xxhash.xxh3_128_digest(raw_bytes(array))
    known = _CONSTANTS.get(key)
    if known is None or known.array() is not array or known.base is not base or known.form != form:
        gone = weakref.ref(array, lambda _: _CONSTANTS.pop(key, None))
        known = _CONSTANTS[key] = _Constant(gone, base, form, xxhash.xxh3_128_digest(raw_bytes(array)))
    return known.digest


def _same_bytes(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(raw_bytes(one), raw_bytes(other))


_PLAIN, _OBJECTS = ArrayKind(), ObjectArrayKind()
