"""The snapshot: the bytes of every tensor of a save, side by side in one reused block of memory."""

from __future__ import annotations

import json
import math
import mmap
import os
import pickle
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import numpy as np

from paddle_resume.errors import StateError

Files = Mapping[str, Mapping[str, Any]]
"""The content of each file of a checkpoint by suffix: arrays, dicts of arrays, and plain values for stock Paddle."""

_GRAIN = 1 << 21  # Grow in steps of 2 MiB, so that a state that changes a little needs no new mapping.
_ALIGNMENT = 64
_ARRAY = "__array__"
# Below this a slice assignment beats NumPy's copy, which costs more to call but lets other threads run meanwhile.
_SMALL_COPY = 1 << 16


class Block:
    """A block of memory that another process can map too; made once, and kept for every save.

    The first copy into fresh memory runs at a fraction of the speed, and fresh shared memory for each save would
    cost more than writing the file.
    """

    def __init__(self) -> None:
        self.fd = os.memfd_create("paddle_resume_snapshot", 0)
        self._map: mmap.mmap | None = None
        self._warming: threading.Thread | None = None
        self._plan: Plan | None = None

    def take(self, files: Files) -> str:
        """Copy every array in, one after the other; returns where each lies, as `Layout.text`.

        Raises StateError for a value that has no form in a file.
        """
        layout = Layout(files, self._plan)
        self._plan = layout.plan
        self._join()
        if self._map is None or len(self._map) < layout.size:
            self._map = map_memory(self.fd, _grown(self.fd, layout.size), populate=True)
        layout.copy_into(memoryview(self._map))
        return layout.text

    def reserve(self, files: Files) -> None:
        """Have memory ready for content like this, behind the back of the caller: its first touch takes long."""
        layout = Layout(files)
        self._plan = layout.plan
        self._join()
        if self._map is None or len(self._map) < layout.size:
            begin = len(self._map) if self._map is not None else 0
            self._map = map_memory(self.fd, _grown(self.fd, layout.size))
            self._warming = threading.Thread(target=_touch, args=(self._map, begin), daemon=True)
            self._warming.start()

    def view(self) -> memoryview:
        """All of the block's bytes."""
        return memoryview(self._map) if self._map is not None else memoryview(b"")

    def close(self) -> None:
        """Give the memory back; the block can be used again, and is then made anew."""
        self._join()
        # Dropped, not closed: a view of it that still lives somewhere would make closing an error.
        self._map = None
        os.ftruncate(self.fd, 0)

    def __del__(self) -> None:
        os.close(self.fd)

    def _join(self) -> None:
        if self._warming is not None:
            self._warming.join()
            self._warming = None


def map_memory(fd: int, size: int, *, populate: bool = False, writable: bool = True) -> mmap.mmap:
    """Map the first `size` bytes of a block; `populate` maps them all at once, instead of page by page at first use."""
    flags = mmap.MAP_SHARED | (getattr(mmap, "MAP_POPULATE", 0) if populate else 0)
    return mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))


class Plan(NamedTuple):
    """Where the arrays of files of this `key` lie; it holds none of them, which from a GPU are copies."""

    key: Optional[tuple[Any, ...]]
    places: list[tuple[int, int]]
    text: str


class Layout:
    """Gives each array a place in a block of `size` bytes, and tells in `text` what stands around it: JSON, by suffix.

    The `plan` of an earlier save is taken over if it is the same: if all has the same names in the same order, each
    array the same form, and each value beside them is the same.

    Raises StateError for a value that has no form in a file.
    """

    def __init__(self, files: Files, plan: Optional[Plan] = None) -> None:
        told = _told(files)
        self._arrays = told.arrays
        key = told.key()
        if plan is None or key is None or plan.key != key:
            self._places: list[tuple[int, int]] = []
            described = {suffix: self._describe(content) for suffix, content in files.items()}
            plan = Plan(key, self._places, json.dumps(described))
        self.plan = plan
        self._places, self.text = plan.places, plan.text
        self.size = self._end()

    def copy_into(self, block: memoryview) -> None:
        """Copy every array to its place."""
        for (start, end), array in zip(self._places, self._arrays):
            if end - start < _SMALL_COPY:
                block[start:end] = _bytes_of(array)
            else:
                np.copyto(np.frombuffer(block[start:end], np.uint8), np.frombuffer(_bytes_of(array), np.uint8))

    def _describe(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self._place(name, value)
            if isinstance(value, np.ndarray)
            else self._describe(value)
            if _holds_arrays(value)
            else _plain(name, value)
            for name, value in content.items()
        }

    def _place(self, name: str, array: np.ndarray) -> dict[str, Any]:
        if array.dtype.kind not in "biufc":
            raise StateError(f"Tensor {name!r} has dtype {array.dtype}, which has no raw byte form.")
        start = self._end()
        self._places.append((start, start + array.nbytes))
        return {_ARRAY: [start, array.dtype.newbyteorder("<").str, array.shape]}

    def _end(self) -> int:
        return -(-self._places[-1][1] // _ALIGNMENT) * _ALIGNMENT if self._places else 0


class _Told(NamedTuple):
    """Files taken apart, in their order: names, the arrays, and what stands beside them."""

    names: list[Any]
    arrays: list[np.ndarray]
    plain: list[Any]

    def key(self) -> Optional[tuple[Any, ...]]:
        """Another one for each other layout, types included; None where that cannot be told."""
        try:
            plain = pickle.dumps(self.plain, pickle.HIGHEST_PROTOCOL)
        except Exception:
            return None
        return self.names, [*map(_SHAPE, self.arrays)], [*map(_DTYPE, self.arrays)], plain


def _told(files: Files) -> _Told:
    told = _Told([], [], [])
    for suffix, content in files.items():
        told.names.append((suffix,))
        _tell(content, told)
    return told


def _tell(content: Mapping[str, Any], told: _Told) -> None:
    for name, value in content.items():
        if isinstance(value, np.ndarray):
            told.names.append(name)
            told.arrays.append(value)
        elif _holds_arrays(value):
            told.names.append((name, len(value)))
            _tell(value, told)
        else:
            told.names.append((name, None))
            told.plain.append(value)


def _holds_arrays(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, np.ndarray) for item in value.values())


def _bytes_of(array: np.ndarray) -> memoryview:
    """Its bytes in C order, little endian; without a copy where they lie so already."""
    if array.dtype.byteorder == ">" or not array.flags.c_contiguous:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return array.data.cast("B") if array.size else memoryview(b"")


_SHAPE: Any = np.ndarray.shape.__get__
_DTYPE: Any = np.ndarray.dtype.__get__


def contents(described: Mapping[str, Any], block: memoryview) -> dict[str, dict[str, Any]]:
    """The content of each file again from what `Layout.text` says, by suffix; the arrays are views of the block."""
    return {
        suffix: {name: _rebuilt(value, block) for name, value in content.items()}
        for suffix, content in described.items()
    }


def _rebuilt(value: Any, block: memoryview) -> Any:
    if not isinstance(value, Mapping):
        return value
    if value.keys() != {_ARRAY}:
        return {name: _rebuilt(item, block) for name, item in value.items()}
    start, dtype, shape = value[_ARRAY]
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.frombuffer(block, dtype, math.prod(shape), start).reshape(shape)


def _plain(name: str, value: Any) -> Any:
    """`value` as JSON keeps it; raises StateError for what it would not keep."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(name, item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, item) for key, item in value.items()}
    raise StateError(
        f"{name!r} holds a value of type {type(value).__name__} that cannot be written for stock Paddle: {value!r}."
    )


def _grown(fd: int, size: int) -> int:
    size = -(-max(size, 1) // _GRAIN) * _GRAIN
    os.ftruncate(fd, size)
    return size


def _touch(memory: mmap.mmap, begin: int) -> None:
    # NumPy writes without the interpreter lock: training goes on meanwhile. What lies before may be being saved.
    np.frombuffer(memory, np.uint8)[begin :: mmap.PAGESIZE] = 0
