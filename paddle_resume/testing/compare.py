"""Compares two finished runs bit for bit, and names the first thing in which they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.record import SUFFIX, FileEntry, Record, decode_state, encode_state
from paddle_resume.loggers import read_records, read_scalars, read_values
from paddle_resume.storage.framing import digest

# Wall clock, and what exists to tell of interruptions.
_EXEMPT_FIELDS = ("saved_at", "sequence", "lineage")
# Where the two runs were told to write.
_EXEMPT_OWNED = {("config", "run", key) for key in ("save_dir", "log_dir", "model_path")}


def first_differences(straight: Path, killed: Path) -> list[str]:
    """One line for each checkpoint, model file or log below the two folders that differs; [] if none does.

    Each line names the first difference in it: tensor, generator, counter or log record.
    """
    kinds = (
        (f"*{SUFFIX}", _compare_checkpoints),
        ("*.pdparams", _compare_bytes),
        ("*.pdopt", _compare_bytes),
    )
    logs = (("vdlrecords.*.log", _compare_curves), ("*.jsonl", _compare_records))
    lines: list[str] = []
    for pattern, compare in (*kinds, *logs):
        ours = {path.relative_to(straight) for path in straight.rglob(pattern)}
        theirs = {path.relative_to(killed) for path in killed.rglob(pattern)}
        lines += [f"{path}: missing in the killed run" for path in sorted(ours - theirs)]
        lines += [f"{path}: only in the killed run" for path in sorted(theirs - ours)]
        for path in sorted(ours & theirs):
            found = next(compare(straight / path, killed / path), None)
            if found is not None:
                lines.append(f"{path}: {found}")
    if not any(straight.rglob(f"*{SUFFIX}")):
        lines.append(f"{straight}: the straight run left no checkpoint, so nothing was compared")
    return lines


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
        digests = {tensor.name: tensor.digest for tensor in entries[suffix].tensors}
        for name, array in arrays.items():
            if digests.get(name) != digest(array.reshape(-1).view("uint8")):
                yield f"tensor {name} of {suffix} differs"
    yield from value_differences(_plain(states), now)


def value_differences(then: Any, now: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Where two plain values differ, as `data.samples: 128 -> 0`; floats by their bits."""
    if path in _EXEMPT_OWNED:
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


def _plain(owners: dict[str, Any]) -> Any:
    return decode_state(encode_state("the record", owners))


def _same(then: Any, now: Any) -> bool:
    if isinstance(then, float) and isinstance(now, float) and math.isnan(then) and math.isnan(now):
        return True
    return type(then) is type(now) and then == now


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def _compare_checkpoints(then: Path, now: Path) -> Iterator[str]:
    records = []
    for path in (then, now):
        found = {item.prefix.name: item for item in find_all(path.parent)}[path.name[: -len(SUFFIX)]]
        if found.record is None:
            yield f"{path}: {found.reason}"
            return
        records.append(found.record)
    yield from record_differences(*records)


def _compare_bytes(then: Path, now: Path) -> Iterator[str]:
    ours, theirs = then.read_bytes(), now.read_bytes()
    if ours != theirs:
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        yield f"bytes differ from offset {at} on ({len(ours)} and {len(theirs)} bytes)"


def _compare_curves(then: Path, now: Path) -> Iterator[str]:
    ours, theirs = read_scalars(then), read_scalars(now)
    for tag in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(tag, []), theirs.get(tag, [])
        for i, (x, y) in enumerate(zip(a, b)):
            if x[0] != y[0] or x[2] != y[2]:
                yield f"VisualDL {tag}, record {i}: step {x[0]} = {x[1]!r} -> step {y[0]} = {y[1]!r}"
                return
        if len(a) != len(b):
            yield f"VisualDL {tag}: {len(a)} records -> {len(b)}"
    yield from _compare_values(then, now)


def _compare_values(then: Path, now: Path) -> Iterator[str]:
    """What is no scalar (histograms, images), and the order of all records."""
    ours, theirs = read_values(then), read_values(now)
    for i, (a, b) in enumerate(zip(ours, theirs)):
        if a != b:
            found = "the contents differ" if a[:3] == b[:3] else f"-> {b[2]} {b[0]} of step {b[1]}"
            yield f"VisualDL record {i}, {a[2]} {a[0]} of step {a[1]}: {found}"
            return
    if len(ours) != len(theirs):
        yield f"VisualDL: {len(ours)} records -> {len(theirs)}"


def _compare_records(then: Path, now: Path) -> Iterator[str]:
    ours, theirs = read_records(then), read_records(now)
    for i, (a, b) in enumerate(zip(ours, theirs)):
        yield from (f"record {i}, {line}" for line in value_differences(a, b))
    if len(ours) != len(theirs):
        yield f"{len(ours)} records -> {len(theirs)}"
