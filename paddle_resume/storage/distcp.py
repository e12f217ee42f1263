"""Reads the files of `paddle.distributed.save_state_dict` without executing them, in one process and without Paddle.

Its folder holds `<rank>_0.distcp`, a dict of arrays each, and `0.metadata`, which tells which array is which part of
which tensor. Both are pickles; they go through `storage.restricted_pickle`.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np

from paddle_resume.errors import CheckpointError
from paddle_resume.storage.restricted_pickle import RestrictedUnpickler, counted
from paddle_resume.storage.safe_constructors import Refused

METADATA = "0.metadata"


@dataclass(frozen=True)
class StoredShard:
    """A part of a tensor, and the file that holds it."""

    file: str
    start: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's whole shape and the shards that make it up."""

    shape: tuple[int, ...]
    shards: tuple[StoredShard, ...]


@dataclass(frozen=True)
class Target:
    """An array to fill with the part of a tensor that begins at `start` in each dimension."""

    array: np.ndarray
    start: tuple[int, ...]


class _Plain:
    """Stand-in for the three dataclasses of the metadata: it holds their fields, and does nothing."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}


class MetadataUnpickler(RestrictedUnpickler):
    """Reads a `.metadata` file; besides arrays and plain values it knows the dataclasses in it, by exact name."""

    # Where Paddle 2.6 has them, and where 3.3 does.
    _MODULES = ("paddle.distributed.checkpoint.metadata", "paddle.distributed.flex_checkpoint.dcp.metadata")
    allowed: ClassVar[Mapping[tuple[str, str], Any]] = {
        **RestrictedUnpickler.allowed,
        **dict.fromkeys(product(_MODULES, ("Metadata", "LocalTensorMetadata", "LocalTensorIndex")), _Plain),
    }

    def load_newobj(self) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        if cls is not _Plain or args != ():
            raise Refused("an instance of a class")
        self.append(_Plain())

    def load_build(self) -> None:
        if type(self.stack[-2]) is not _Plain:
            super().load_build()
            return
        state = self.stack.pop()
        if type(state) is not dict or not all(type(key) is str for key in state):
            raise Refused("metadata whose fields are something else")
        self._charge(state)
        self.stack[-1].fields = dict(state)

    def _set_items(self, items: list[Any]) -> None:
        # The places of the shards are keys of a dict: they are compared by identity here, which nothing can abuse.
        keys = [key for key in items[::2] if type(key) is _Plain]
        if not keys or type(self.stack[-1]) is not dict or len(items) % 2:
            super()._set_items(items)
        elif len(keys) * 2 != len(items):
            raise Refused("keys of several kinds")
        else:
            self.stack[-1].update(zip(items[::2], items[1::2]))

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **RestrictedUnpickler.dispatch,
        **counted({pickle.NEWOBJ[0]: load_newobj, pickle.BUILD[0]: load_build}),
    }


def stored_tensors(metadata: Any) -> dict[str, StoredTensor]:
    """What the content of a `.metadata` file tells, by key; raises ValueError if it does not fit together."""
    described = _fields(metadata, "state_dict_metadata")
    places = _fields(metadata, "storage_metadata")
    files: dict[str, dict[tuple[int, ...], str]] = {}
    for index, file in places.items():
        if not isinstance(index, _Plain) or not isinstance(file, str):
            raise ValueError("a place that is no place")
        if not index.fields.get("replica_id"):
            files.setdefault(index.fields["tensor_key"], {})[_extents(index.fields["global_offset"])] = file
    return {key: _stored(key, parts, files.get(key, {})) for key, parts in described.items()}


def fill_targets(
    targets: Mapping[str, Target],
    stored: Mapping[str, StoredTensor],
    read: Callable[[str], Mapping[str, np.ndarray]],
) -> None:
    """Fill each target from the shards that overlap with it, one file in memory at a time.

    `read` gives the arrays of a file by key. Raises CheckpointError if an array is not what the metadata says.
    """
    wanted: dict[str, list[tuple[str, StoredShard]]] = {}
    for key, target in targets.items():
        for shard in stored[key].shards:
            if _overlap(target, shard) is not None:
                wanted.setdefault(shard.file, []).append((key, shard))
    for file in sorted(wanted):
        arrays = read(file)
        for key, shard in wanted[file]:
            target, array = targets[key], arrays.get(key)
            if array is None or array.shape != shard.shape or array.dtype != target.array.dtype:
                found = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
                raise CheckpointError(
                    f"{file}: {key} is {found}, and should be {target.array.dtype} {list(shard.shape)}. The checkpoint "
                    "was saved from another model, or is damaged; use another one."
                )
            here, there = _overlap(target, shard) or ((), ())
            target.array[here] = array[there]


def _stored(key: str, parts: Any, files: Mapping[tuple[int, ...], str]) -> StoredTensor:
    shards, whole = [], None
    for part in parts:
        if part.fields.get("is_flattened"):
            raise ValueError(f"{key} is stored in flattened shards, which are not read here")
        start, shape = _extents(part.fields["global_offset"]), _extents(part.fields["local_shape"])
        if len(start) != len(shape) or start not in files:
            raise ValueError(f"{key} has a shard that is nowhere")
        shards.append(StoredShard(files[start], start, shape))
        whole = part.fields.get("global_shape") or whole
    if whole is None:  # Paddle 2.6 does not tell it.
        whole = [max(p.start[d] + p.shape[d] for p in shards) for d in range(len(shards[0].shape))]
    total = _extents(whole)
    inside = all(s + n <= t for p in shards for s, n, t in zip(p.start, p.shape, total))
    # Pieces are told apart by where they begin, so they are all there if their sizes add up.
    if not inside or sum(math.prod(p.shape) for p in shards) != math.prod(total):
        raise ValueError(f"the shards of {key} are not the whole of it")
    return StoredTensor(total, tuple(shards))


def _overlap(target: Target, shard: StoredShard) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Where the two overlap, as slices of the target and of the shard; None if they do not."""
    here, there = [], []
    for begin, extent, start, length in zip(target.start, target.array.shape, shard.start, shard.shape):
        low, high = max(begin, start), min(begin + extent, start + length)
        if low >= high:
            return None
        here.append(slice(low - begin, high - begin))
        there.append(slice(low - start, high - start))
    return tuple(here), tuple(there)


def _fields(metadata: Any, name: str) -> dict[Any, Any]:
    value = metadata.fields.get(name) if isinstance(metadata, _Plain) else None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is missing")
    return value


def _extents(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or not all(type(n) is int and 0 <= n < 1 << 62 for n in value):
        raise ValueError("a shape that is no shape")
    return tuple(value)
