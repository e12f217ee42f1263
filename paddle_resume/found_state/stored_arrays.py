"""Arrays on their way into a record or its file, and back, in their own dtype, shape and order."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from paddle_resume.found_state.problem import Problem

_INLINE = 4096  # bytes; what is larger goes to the file
_PLAIN = "biufc"
_RAW = "USMm"
_DTYPE = re.compile(r"[<>|=](?:[biufc][0-9]{1,2}|[US][0-9]{1,9}|[Mm]8(?:\[[0-9]{0,9}[A-Za-z]{1,2}\])?)")
_C, _F = "C", "F"
_MOST_DIMENSIONS = 64


def is_storable(array: np.ndarray) -> bool:
    """Whether the array's bytes say all about it."""
    return array.dtype.kind in _PLAIN or array.dtype.kind in _RAW


def order_of(array: np.ndarray) -> str:
    """The memory order in which it is walked through, which decides the bits of a sum."""
    return _F if array.flags.f_contiguous and not array.flags.c_contiguous else _C


def raw_bytes(array: np.ndarray) -> Any:
    """The array's bytes in its own order; without a copy where it lies in one piece."""
    flat = array.reshape(-1, order="F" if order_of(array) == _F else "C")
    return np.ascontiguousarray(flat).view(np.uint8) if flat.size else np.empty(0, np.uint8)


class ArraySink:
    """Takes the arrays of one capture: small ones into the record, the others into `arrays` by path."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, path: str, array: np.ndarray) -> list[Any]:
        """What the record says of the array."""
        name = self._name(path) if array.nbytes > _INLINE else ""
        described: list[Any] = [array.dtype.str, list(array.shape), order_of(array)]
        if not name:
            return [*described, raw_bytes(array)]
        is_plain = array.dtype.kind in _PLAIN and array.dtype.byteorder != ">" and order_of(array) == _C
        self.arrays[name] = np.ascontiguousarray(array) if is_plain else raw_bytes(array)
        return [*described, name]

    def _name(self, path: str) -> str:
        name, count = path, 1
        while name in self.arrays:
            count += 1
            name = f"{path}~{count}"
        return name


class KeptArrays(ArraySink):
    """Keeps copies in memory of what an object held at the start, as far as there is room for them."""

    def __init__(self, most_each: int, most: int) -> None:
        super().__init__()
        self._most_each = most_each
        self._left = most

    def put(self, path: str, array: np.ndarray) -> list[Any]:
        """Raises Problem for an array that there is no room for."""
        if array.nbytes > min(self._most_each, self._left):
            raise Problem("it is too large to be kept twice")
        self._left -= array.nbytes
        return [array.dtype.str, list(array.shape), order_of(array), raw_bytes(array).copy()]


class ArraySource:
    """Gives the arrays of a record back; each may be asked for as often as it is named."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays

    def get(self, described: Any) -> np.ndarray:
        """A new array; raises Problem for what `ArraySink.put` never gives, or if its bytes are not there."""
        if not isinstance(described, list) or len(described) != 4:
            raise Problem("an array is described by dtype, shape, order and bytes")
        dtype, shape, order, where = described
        if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype) or order not in (_C, _F):
            raise Problem(f"there is no array of dtype {str(dtype)[:40]!r} and order {str(order)[:40]!r}")
        if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(_is_extent(n) for n in shape):
            raise Problem(f"there is no array of shape {str(shape)[:80]}")
        raw = self._raw(where)
        try:
            kind = np.dtype(dtype)
        except TypeError as error:
            raise Problem(f"there is no dtype {dtype!r}") from error
        size = math.prod(shape)
        if size * kind.itemsize != raw.nbytes:
            raise Problem(f"an array of shape {shape} and dtype {dtype} is not {raw.nbytes} bytes")
        if math.prod(max(extent, 1) for extent in shape) * max(kind.itemsize, 1) >= 1 << 62:
            raise Problem(f"there is no empty array of shape {str(shape)[:80]}")
        made = np.empty(shape, kind, order)
        if raw.nbytes:
            made.reshape(-1, order=order)[:] = np.frombuffer(raw, kind)
        return made

    def _raw(self, where: Any) -> np.ndarray:
        if isinstance(where, str):
            if where not in self._arrays:
                raise Problem(f"the file has no array {where[:200]!r}")
            return raw_bytes(np.asarray(self._arrays[where]))
        if not isinstance(where, np.ndarray) or where.dtype != np.uint8 or where.ndim != 1:
            raise Problem("an array lies in the file, by its name, or in the record, as bytes")
        return where


def _is_extent(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62
