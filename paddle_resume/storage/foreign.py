"""The one door for pickle files that others wrote: arrays and plain values by exact name, all else refused."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paddle_resume.errors import CheckpointError


class _Refused(pickle.UnpicklingError):
    """A name outside the allow-list."""


class _Maker:
    """Stand-in for a class or function that pickles of arrays call; unlike those, a pickle cannot alter it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a change to what it calls")


class _Array(np.ndarray):
    """An array whose pickled state is checked before it is believed."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        shape = _checked_shape(shape, dtype, raw)
        super().__setstate__((1, shape, dtype.exact, bool(fortran), bytes(raw)))  # type: ignore[arg-type]


class _Dtype:
    """A pickled dtype: a kind of number and, by its BUILD, the order of its bytes. Nothing else is taken over."""

    def __init__(self, kind: Any, *_: Any) -> None:
        self.exact = np.dtype(str(kind))
        if self.exact.kind not in "biufc":
            raise _Refused(f"dtype {kind!r}")

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "=") or state[2:5] != (None, None, None):
            raise _Refused("a dtype that is no plain number")
        self.exact = self.exact.newbyteorder(state[1])


def _make_array(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    """Stand-in for NumPy's `_reconstruct`: an empty array, to be filled by its BUILD."""
    return np.empty(0, np.uint8).view(_Array)


def _make_scalar(dtype: Any, raw: Any) -> Any:
    _checked_shape((1,), dtype, raw)
    return np.frombuffer(bytes(raw), dtype.exact)[0]


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Stand-in for `numpy._core.numeric._frombuffer`, which protocol 5 uses."""
    shape = _checked_shape(shape, dtype, buffer)
    return np.frombuffer(bytes(buffer), dtype.exact).reshape(shape, order="F" if order == "F" else "C")


def _make_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Stand-in for `_codecs.encode`, by which protocol 2 writes bytes, and for `bytes()`, its empty ones."""
    if encoding != "latin1" or not isinstance(text, str):
        raise _Refused(f"bytes made of {type(text).__name__} with {encoding!r}")
    return text.encode("latin1")


def _make_ndarray_type(*_: Any) -> Any:
    raise _Refused("a call of numpy.ndarray")


def _make_tuple(items: Any = ()) -> tuple[Any, ...]:
    """Stand-in for `tuple`, as which Paddle writes a tensor outside a state dict: (name, array)."""
    if not isinstance(items, (tuple, list)):
        raise _Refused(f"a tuple of {type(items).__name__}")
    return tuple(items)


def _make_dict(items: Any = ()) -> dict[Any, Any]:
    """Stand-in for `OrderedDict`; a plain dict keeps the order and has no attributes to overwrite."""
    return dict(items)


def _checked_shape(shape: Any, dtype: Any, raw: Any) -> tuple[int, ...]:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray, memoryview, pickle.PickleBuffer)):
        raise _Refused("an array whose dtype or bytes are something else")
    shape = tuple(int(extent) for extent in shape)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.exact.itemsize != memoryview(raw).nbytes:
        raise _Refused(f"an array of shape {shape} with {memoryview(raw).nbytes} bytes")
    return shape


# Exact names only: prefix rules have been walked around again and again elsewhere.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _Maker(_make_array),
    ("numpy._core.multiarray", "_reconstruct"): _Maker(_make_array),
    ("numpy.core.multiarray", "scalar"): _Maker(_make_scalar),
    ("numpy._core.multiarray", "scalar"): _Maker(_make_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Maker(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): _Maker(_from_buffer),
    ("numpy", "ndarray"): _Maker(_make_ndarray_type),
    ("numpy", "dtype"): _Maker(_Dtype),
    ("collections", "OrderedDict"): _Maker(_make_dict),
    ("_codecs", "encode"): _Maker(_make_bytes),
    ("builtins", "bytes"): _Maker(_make_bytes),
    ("__builtin__", "bytes"): _Maker(_make_bytes),
    ("builtins", "tuple"): _Maker(_make_tuple),
    ("__builtin__", "tuple"): _Maker(_make_tuple),
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a persistent id")


def read_foreign(path: Path) -> Any:
    """The content of a `.pdparams` or `.pdopt` that any version of Paddle wrote, without executing anything.

    Raises CheckpointError naming the file and what in it was refused or damaged.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    if not raw:
        raise CheckpointError(f"{path} is empty: its writer was probably cut short. Use another file.")
    try:
        return _Reader(io.BytesIO(raw), encoding="latin1").load()
    except _Refused as error:
        raise CheckpointError(
            f"{path} was not loaded: it asks for {error}, which no file of weights needs. Nothing of it was run. "
            "Only load it by other means if you trust where it came from."
        ) from error
    except RecursionError as error:
        raise CheckpointError(f"{path} was not loaded: it is nested too deeply to be a file of weights.") from error
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged or is no file of Paddle's: {type(error).__name__}: {error}. Use another file."
        ) from error
