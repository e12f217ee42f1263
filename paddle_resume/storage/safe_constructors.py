"""Stand-ins for the classes and functions that pickles of arrays call, by exact name; each checks what it is given."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_DIMENSIONS = 32
LARGEST = 1 << 58  # So many numbers of 16 bytes can still be counted.
SHOWN = 60  # Letters of a file's own text that an error repeats.


class Refused(pickle.UnpicklingError):
    """What a file of weights has no need of; the text names it."""


class SafeConstructor:
    """Stand-in for a class or function that a pickle calls by name; unlike those, a pickle cannot alter it."""

    __slots__ = ("_construct",)

    def __init__(self, construct: Callable[..., Any]) -> None:
        self._construct = construct

    def __call__(self, *args: Any) -> Any:
        return self._construct(*args)

    def __setstate__(self, state: Any) -> None:
        raise Refused("a change to what it calls")


class PickledArray(np.ndarray):
    """An array whose pickled state is checked before it is believed."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array whose state is something else")
        _, shape, dtype, fortran, raw = state
        raw = _as_bytes(raw)
        shape = _checked_shape(shape, dtype, raw)
        super().__setstate__((1, shape, dtype.exact, fortran is True or fortran == 1, raw))  # type: ignore[arg-type]


class PickledDtype:
    """A pickled dtype: a kind of number and, by its BUILD, the order of its bytes. Nothing else is taken over."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if not isinstance(kind, str):
            # Not shown: the text of a nested value can be longer than any memory.
            raise Refused(f"a dtype made of {type(kind).__name__}")
        if len(kind) > SHOWN:
            raise Refused(f"dtype {kind[:SHOWN]!r}...")
        self.exact = np.dtype(kind)
        if self.exact.kind not in "biufc":
            raise Refused(f"dtype {kind!r}")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("a dtype that is no plain number")
        if type(state[1]) is not str or state[1] not in ("<", ">", "|", "="):
            raise Refused("a dtype that is no plain number")
        order: Any = state[1]
        self.exact = self.exact.newbyteorder(order)


def _make_array(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    """Stand-in for NumPy's `_reconstruct`: an empty array, to be filled by its BUILD."""
    return np.empty(0, np.uint8).view(PickledArray)


def _make_scalar(dtype: Any, raw: Any) -> Any:
    raw = _as_bytes(raw)
    _checked_shape((1,), dtype, raw)
    return np.frombuffer(raw, dtype.exact)[0]


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Stand-in for `numpy._core.numeric._frombuffer`, which protocol 5 uses."""
    raw = _as_bytes(buffer)
    shape = _checked_shape(shape, dtype, raw)
    return np.frombuffer(raw, dtype.exact).reshape(shape, order="F" if order == "F" else "C")


def _make_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Stand-in for `_codecs.encode`, by which protocol 2 writes bytes, and for `bytes()`, its empty ones."""
    if not isinstance(text, str) or encoding != "latin1":
        how = repr(encoding[:SHOWN]) if isinstance(encoding, str) else type(encoding).__name__
        raise Refused(f"bytes made of {type(text).__name__} with {how}")
    return text.encode("latin1")


def _make_ndarray_type(*_: Any) -> Any:
    raise Refused("a call of numpy.ndarray")


def _make_tuple(items: Any = ()) -> tuple[Any, ...]:
    """Stand-in for `tuple`, as which Paddle writes a tensor outside a state dict: (name, array)."""
    if not isinstance(items, (tuple, list)):
        raise Refused(f"a tuple of {type(items).__name__}")
    return tuple(items)


def _make_dict(items: Any = ()) -> dict[Any, Any]:
    """Stand-in for `OrderedDict`; a plain dict keeps the order and has no attributes to overwrite."""
    made: dict[Any, Any] = {}
    if isinstance(items, dict):
        items = list(items.items())
    if not isinstance(items, (list, tuple)):
        raise Refused(f"a dict of {type(items).__name__}")
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            raise Refused("a dict of something else than pairs")
        made[checked_key(item[0])] = item[1]
    return made


def checked_key(key: Any) -> Any:
    """The key of a dict, if it is a plain value; raises Refused."""
    # The hash of a nested tuple may take years.
    if type(key) not in (str, int, float, bool, bytes, type(None)):
        raise Refused(f"a {type(key).__name__} as a key")
    return key


def _as_bytes(raw: Any) -> bytes:
    if isinstance(raw, str):
        return raw.encode("latin1")  # Python 2 wrote bytes as text.
    if not isinstance(raw, (bytes, bytearray, memoryview, pickle.PickleBuffer)):
        raise Refused("an array whose dtype or bytes are something else")
    return bytes(raw)


def _checked_shape(shape: Any, dtype: Any, raw: bytes) -> tuple[int, ...]:
    if not isinstance(dtype, PickledDtype) or not isinstance(shape, (tuple, list)) or len(shape) > MAX_DIMENSIONS:
        raise Refused("an array whose dtype or bytes are something else")
    # Of bounded size before they are multiplied or shown.
    if not all(type(extent) is int and -(1 << 62) < extent < 1 << 62 for extent in shape):
        raise Refused("an array whose shape is something else")
    shape = tuple(shape)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.exact.itemsize != len(raw):
        raise Refused(f"an array of shape {shape} with {len(raw)} bytes")
    if math.prod(max(extent, 1) for extent in shape) >= LARGEST:  # NumPy counts so also where there is nothing.
        raise Refused(f"an empty array of shape {shape}")
    return shape


# Exact names only: prefix rules have been walked around again and again elsewhere.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): SafeConstructor(_make_array),
    ("numpy._core.multiarray", "_reconstruct"): SafeConstructor(_make_array),
    ("numpy.core.multiarray", "scalar"): SafeConstructor(_make_scalar),
    ("numpy._core.multiarray", "scalar"): SafeConstructor(_make_scalar),
    ("numpy.core.numeric", "_frombuffer"): SafeConstructor(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): SafeConstructor(_from_buffer),
    ("numpy", "ndarray"): SafeConstructor(_make_ndarray_type),
    ("numpy", "dtype"): SafeConstructor(PickledDtype),
    ("collections", "OrderedDict"): SafeConstructor(_make_dict),
    ("_codecs", "encode"): SafeConstructor(_make_bytes),
    ("builtins", "bytes"): SafeConstructor(_make_bytes),
    ("__builtin__", "bytes"): SafeConstructor(_make_bytes),
    ("builtins", "tuple"): SafeConstructor(_make_tuple),
    ("__builtin__", "tuple"): SafeConstructor(_make_tuple),
}
