"""Figures of arrays, computed piece by piece in float64, so that a large tensor needs little memory beside itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_PIECE = 1 << 20  # values


@dataclass(frozen=True)
class Difference:
    """How two arrays of one shape and dtype differ: by value, and in how many of their values by a bit.

    `largest` is the largest absolute difference, NaN if a value is not finite on one side only; `relative` is the
    norm of the difference over the norm of the first array.
    """

    largest: float
    relative: float
    values: int
    of: int


def type_name(dtype: np.dtype) -> str:
    """The dtype's name as Paddle's users know it: bfloat16, which NumPy lacks, is stored as uint16."""
    return "bfloat16" if dtype == np.uint16 else dtype.name


def is_floating(dtype: np.dtype) -> bool:
    """Whether a tensor of this stored dtype holds numbers that can be averaged."""
    return dtype.kind in "fc" or dtype == np.uint16


def widened(array: np.ndarray) -> np.ndarray:
    """The values as float64 (complex numbers as complex128), those of bfloat16 too."""
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # A NaN may be a signaling one: what it is, the figures tell.
        return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def narrowed(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values of `widened` in the stored dtype, rounded to nearest."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32 if dtype == np.uint16 else dtype)
    if dtype != np.uint16:
        return single
    bits = np.ascontiguousarray(single).view(np.uint32)
    # Half of the last place that stays, less one bit where that place is even: ties go to even.
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(single), np.uint16(0x7FC0), rounded).reshape(values.shape)


def norm(array: np.ndarray) -> float:
    """The Euclidean norm of all values; NaN or infinite if one of them is."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(sum(_squares(piece) for (piece,) in _pieces(array)))


def count_non_finite(array: np.ndarray) -> int:
    """How many values are NaN or infinite."""
    if not is_floating(array.dtype):
        return 0
    return sum(piece.size - int(np.count_nonzero(np.isfinite(piece))) for (piece,) in _pieces(array))


def difference(then: np.ndarray, now: np.ndarray) -> Difference:
    """How `now` differs from `then`, of the same shape and dtype."""
    largest = squares = reference = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for a, b in _pieces(then, now):
            apart = np.abs(a - b)
            apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0  # Two infinite values of one sign are no difference.
            largest = max(largest, float(apart.max(initial=0)), key=lambda x: (math.isnan(x), x))
            squares += _squares(apart)
            reference += _squares(a)
    values = then.size - int(np.count_nonzero(_bits(then) == _bits(now)))
    relative = math.sqrt(squares / reference) if reference else math.inf if squares else 0.0
    return Difference(largest, relative, values, then.size)


def _squares(values: np.ndarray) -> float:
    return float(np.vdot(values, values).real)


def _pieces(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _PIECE):
        yield tuple(widened(each[start : start + _PIECE]) for each in flat)


def _bits(array: np.ndarray) -> np.ndarray:
    """Each value's bits as an opaque whole, so that NaN equals itself and -0.0 is not 0.0."""
    return np.ascontiguousarray(array).reshape(-1).view(f"V{array.dtype.itemsize}")
