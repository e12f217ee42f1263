"""Long rows of numbers, and rows that are others in a new order, as one array instead of one entry for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

_LONG = 64
_TYPES: dict[type, tuple[str, Any]] = {
    float: ("floats", np.float64),
    int: ("ints", np.int64),
    bool: ("bools", np.bool_),
}
_PICKED = "picked"
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1


def pack_numbers(values: Sequence[Any], sink: ArraySink, path: str) -> Optional[list[Any]]:
    """What a record says for many numbers of one type, or None if these are none."""
    kind = type(values[0]) if len(values) >= _LONG else None
    if kind not in _TYPES or any(type(value) is not kind for value in values):
        return None
    if kind is int and not (min(values) >= _LOWEST and max(values) <= _HIGHEST):
        return None
    name, dtype = _TYPES[kind]
    return [name, sink.put(path, np.array(values, dtype))]


def pack_picked(values: Sequence[Any], given: Sequence[Any], sink: ArraySink, path: str) -> Optional[list[Any]]:
    """What a record says for values that are those given at the start, in another order; None if there are others."""
    if len(given) < _LONG:
        return None
    places = {id(value): place for place, value in enumerate(given)}
    picked = [places.get(id(value), -1) for value in values]
    return None if -1 in picked else [_PICKED, sink.put(path, np.array(picked, np.int64))]


def unpack(described: Any, given: Sequence[Any], source: ArraySource) -> list[Any]:
    """The values; raises Problem for what none of the above gives."""
    if type(described) is not list or len(described) != 2:
        raise Problem("packed values come with their kind and an array")
    kind, where = described
    array = source.get(where)
    if kind == _PICKED:
        if (
            array.dtype != np.int64
            or array.ndim != 1
            or (array.size and not 0 <= array.min() <= array.max() < len(given))
        ):
            raise Problem("it picks items that were not there at the start")
        return [given[place] for place in array.tolist()]
    if array.ndim != 1 or (kind, array.dtype.type) not in _TYPES.values():
        raise Problem(f"there are no packed values of kind {str(kind)[:40]!r}")
    return array.tolist()
