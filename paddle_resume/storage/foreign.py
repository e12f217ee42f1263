"""The one door for pickle files that others wrote: arrays and plain values by exact name, all else refused."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from paddle_resume.errors import CheckpointError

_MAX_ITEMS = 1 << 24


class _Refused(pickle.UnpicklingError):
    """A name outside the allow-list."""


def _make_array(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    """Stand-in for NumPy's `_reconstruct`: an empty array, to be filled by its BUILD."""
    return np.empty(0, np.uint8).view(_Array)


class _Array(np.ndarray):
    """An array whose pickled state is checked before it is believed."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        _check_array(shape, dtype, raw)
        super().__setstate__((1, tuple(shape), dtype, bool(fortran), bytes(raw)))


def _make_dtype(kind: Any, *_: Any) -> np.dtype:
    dtype = np.dtype(str(kind))
    if dtype.kind not in "biufc":
        raise _Refused(f"dtype {kind!r}")
    return dtype


def _make_scalar(dtype: Any, raw: Any) -> Any:
    _check_array((1,), dtype, raw)
    return np.frombuffer(bytes(raw), dtype)[0]


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Stand-in for `numpy._core.numeric._frombuffer`, which protocol 5 uses."""
    _check_array(shape, dtype, buffer)
    return np.frombuffer(bytes(buffer), dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any) -> bytes:
    """Stand-in for `_codecs.encode`, by which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise _Refused(f"_codecs.encode with {encoding!r}")
    return str(text).encode("latin1")


def _check_array(shape: Any, dtype: Any, raw: Any) -> None:
    if not isinstance(dtype, np.dtype) or not isinstance(raw, (bytes, bytearray, memoryview, pickle.PickleBuffer)):
        raise _Refused("an array whose dtype or bytes are something else")
    count = 1
    for extent in tuple(shape):
        count *= int(extent)
    if count < 0 or count * dtype.itemsize != memoryview(raw).nbytes:
        raise _Refused(f"an array of shape {tuple(shape)} with {memoryview(raw).nbytes} bytes")


# Exact names only: prefix rules have been walked around again and again elsewhere.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _make_array,
    ("numpy._core.multiarray", "_reconstruct"): _make_array,
    ("numpy.core.multiarray", "scalar"): _make_scalar,
    ("numpy._core.multiarray", "scalar"): _make_scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _make_dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
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
