"""Where two records of checkpoints differ, tensor by tensor and value by value, by their bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from paddle_resume.checkpoint.record import FileEntry, Record, decode_state, encode_state
from paddle_resume.storage.framing import digest

# Wall clock, and what exists to tell of interruptions.
_EXEMPT_FIELDS = ("saved_at", "sequence", "lineage")
# Where the two runs were told to write, and the number of a folder that counts the saves that were begun.
_EXEMPT_OWNED = {("config", "run", key) for key in ("save_dir", "log_dir", "model_path")} | {("shards", "folder")}

_FOUND = "found"  # the owner of found state


def record_differences(then: Record, now: Record) -> Iterator[str]:
    """Where two records differ: tensors by digest, then every owner's state, then the rest."""
    for suffix in dict.fromkeys([*then.files, *now.files]):
        if suffix not in then.files or suffix not in now.files:
            yield f"{suffix} is in one of them only"
            continue
        ours = {tensor.name: tensor for tensor in then.files[suffix].tensors}
        theirs = {tensor.name: tensor for tensor in now.files[suffix].tensors}
        for name in dict.fromkeys([*ours, *theirs]):
            if ours.get(name) != theirs.get(name):
                yield f"tensor {name} of {suffix} differs"
    yield from value_differences(_plain(then.owners), _plain(now.owners))
    # After the owners: the framing holds what they know by name, such as the scheduler's state for stock Paddle.
    for suffix in set(then.files) & set(now.files):
        if then.files[suffix].framing != now.files[suffix].framing:
            yield f"the framing of {suffix} differs"
    rest = {*_EXEMPT_FIELDS, "files", "owners"}
    yield from value_differences(then.model_dump(exclude=rest), now.model_dump(exclude=rest))


def state_differences(
    states: dict[str, Any], tensors: dict[str, dict[str, Any]], now: dict[str, Any], entries: dict[str, FileEntry]
) -> Iterator[str]:
    """Where what owners hold now (`now`, and `entries` of their files) is not what they were given back."""
    for suffix, arrays in tensors.items():
        digests = {tensor.name: tensor.digest for tensor in entries[suffix].tensors} if suffix in entries else {}
        for name, array in arrays.items():
            if digests.get(name) != digest(array.reshape(-1).view("uint8")):
                yield f"tensor {name} of {suffix} differs"
    yield from value_differences(_plain(states), now)


def value_differences(then: Any, now: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Where two plain values differ, as `data.samples: 128 -> 0`; floats by their bits."""
    if path in _EXEMPT_OWNED or (_is_clock(then) and _is_clock(now) and path[:1] == (_FOUND,)):
        return
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            yield from value_differences(then.get(key), now.get(key), (*path, str(key)))
    elif isinstance(then, (list, tuple)) and isinstance(now, (list, tuple)) and len(then) == len(now):
        for i, (a, b) in enumerate(zip(then, now)):
            yield from value_differences(a, b, (*path, str(i)))
    elif hasattr(then, "tobytes") and hasattr(now, "tobytes"):
        if then.tobytes() != now.tobytes() or then.dtype != now.dtype:
            yield f"{'.'.join(path)}: the arrays differ"
    elif not _same(then, now):
        yield f"{'.'.join(path)}: {_short(then)} -> {_short(now)}"


def _is_clock(cell: Any) -> bool:
    """Whether found state says how long ago a clock was read."""
    return isinstance(cell, list) and len(cell) == 4 and cell[0] == "clock"


def _plain(owners: dict[str, Any]) -> Any:
    return decode_state(encode_state("the record", owners))


def _same(then: Any, now: Any) -> bool:
    if isinstance(then, float) and isinstance(now, float) and math.isnan(then) and math.isnan(now):
        return True
    return type(then) is type(now) and then == now


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
