"""The safetensors format: eight bytes with the header's length, the header as JSON, the tensors' bytes without a gap.

Read and written here, not by the `safetensors` package: its NumPy side has no bfloat16, its Paddle side is not for
Paddle 2.6, it does not write durably, and the format is this small. bfloat16 is uint16 here, as Paddle itself shows it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.errors import CheckpointError, StateError
from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.durable_files import replace_file
from paddle_resume.storage.regular_files import open_regular
from paddle_resume.storage.safe_constructors import MAX_DIMENSIONS

_METADATA = "__metadata__"
_MAX_HEADER = 100_000_000  # As in the format's own library.
_ALIGNMENT = 8
_LARGEST = 1 << 58  # So many numbers of 16 bytes can still be counted.
_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "I32": "<i4",
    "F32": "<f4",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


class _Malformed(Exception):
    """What in a header breaks the rules of the format."""


def read_safetensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The tensors in `path` by name, in the order of its header, and its metadata.

    Raises CheckpointError for a file that is missing or cut short, for a header that breaks a rule of the format
    (ranges that overlap, leave a gap or do not fit the shape, names given twice, ...), and for types that Paddle
    does not have. Nothing is reserved for a size that the file does not have.
    """
    try:
        with open_regular(path) as file:
            size = path.stat().st_size
            length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else 0
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise _Malformed(f"it has {size} bytes, and its first eight give the header {length}")
            header = _parse(file.read(length))
            metadata = _checked_metadata(header.pop(_METADATA, {}))
            places = {name: _checked_entry(name, entry) for name, entry in header.items()}
            _check_ranges(places, size - 8 - length)
            arrays: Arrays = {}
            for name, (dtype, shape, begin) in places.items():
                arrays[name] = np.empty(shape, dtype)
                file.seek(8 + length + begin)
                if file.readinto(arrays[name].reshape(-1).view(np.uint8).data) != arrays[name].nbytes:
                    raise _Malformed(f"it ends within {name!r}")
            return arrays, metadata
    except _Malformed as error:
        raise CheckpointError(
            f"{path} is damaged or is no safetensors file: {str(error)[:400]}. Use another file."
        ) from error
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> int:
    """Write the arrays to `path`, replaced whole or not at all; returns the file's size in bytes.

    uint16 is written as bfloat16. Raises StateError for a type or a name that the format does not have, and SaveError.
    """
    strange = [f"{name!r} is {array.dtype}" for name, array in arrays.items() if array.dtype not in _NAMES]
    if strange or _METADATA in arrays:
        what = "; ".join(strange[:5]) or f"a tensor is called {_METADATA}"
        raise StateError(f"{path} was not written: safetensors cannot hold it: {what}. Write a .pdparams file instead.")
    # The widest first: then each lies at a multiple of its own size, on which other readers rely.
    laid_out = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    offsets: dict[str, list[int]] = {}
    end = 0
    for name in laid_out:
        offsets[name] = [end, end + arrays[name].nbytes]
        end = offsets[name][1]
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    for name, array in arrays.items():
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets[name]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNMENT)

    def chunks() -> Iterator[memoryview]:
        yield memoryview(struct.pack("<Q", len(text)) + text)
        for name in laid_out:
            if arrays[name].nbytes:
                yield np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data

    size = 8 + len(text) + end
    replace_file(path, chunks(), size)
    return size


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        header = parse_json(
            raw,
            object_pairs_hook=_unique,
            parse_int=_short_int,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except ValueError as error:
        raise _Malformed(f"its header is no JSON: {error}") from error
    if not raw.startswith(b"{") or not isinstance(header, dict):
        raise _Malformed("its header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Malformed("its header has a name twice")
    return made


def _short_int(text: str) -> int:
    if len(text) > 19:
        raise _Malformed(f"its header has a number of {len(text)} digits")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise _Malformed(f"its header has the number {text[:40]}")


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Malformed(f"{_METADATA} is something else than texts by name")
    return metadata


def _checked_entry(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int]:
    """Type, shape and first byte of one tensor, whose length fits its shape."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Malformed(f"the entry of {name!r} has not just dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _Malformed(f"{name!r} has the type {str(dtype)[:20]}, which Paddle does not have")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
            raise _Malformed(f"the shape or the place of {name!r} is something else than whole numbers")
    if len(offsets) != 2 or len(shape) > MAX_DIMENSIONS:
        raise _Malformed(f"the shape or the place of {name!r} has {max(len(shape), len(offsets))} numbers")
    made = np.dtype(_DTYPES[dtype])
    if math.prod(max(extent, 1) for extent in shape) >= _LARGEST:
        raise _Malformed(f"{name!r} has the shape {shape}, larger than any memory")
    if math.prod(shape) * made.itemsize != offsets[1] - offsets[0]:
        raise _Malformed(f"{name!r} has the shape {shape} of {dtype} and {offsets[1] - offsets[0]} bytes")
    return made, tuple(shape), offsets[0]


def _check_ranges(places: Mapping[str, tuple[np.dtype, tuple[int, ...], int]], size: int) -> None:
    """One tensor begins where another ends, and the last ends with the file."""
    end = 0
    ranges = sorted((begin, math.prod(shape) * dtype.itemsize, name) for name, (dtype, shape, begin) in places.items())
    for begin, length, name in ranges:
        if begin != end:
            raise _Malformed(f"{name!r} begins at byte {begin}, and the one before it ends at {end}")
        end += length
    if end != size:
        raise _Malformed(f"its tensors have {end} bytes, and the file {size}")
