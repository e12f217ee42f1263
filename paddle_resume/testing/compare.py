"""Compares two finished runs bit for bit, and names the first thing in which they differ."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.record_differences import record_differences, value_differences
from paddle_resume.loggers import read_records, read_scalars, read_values


def first_differences(
    straight: Path, other: Path, *, stopped_after: Collection[int] = (), other_is: str = "killed"
) -> list[str]:
    """One line for each checkpoint, model file or log below the two folders that differs; [] if none does.

    Each line names the first difference in it: tensor, generator, counter or log record. After the steps
    `stopped_after` the other run was stopped, and may have a checkpoint that the straight one has not. `other_is` is
    the word for the other run.
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
        theirs = {path.relative_to(other) for path in other.rglob(pattern)}
        lines += [f"{path}: missing in the {other_is} run" for path in sorted(ours - theirs)]
        added = [path for path in sorted(theirs - ours) if not _is_of_a_stop(path, stopped_after)]
        lines += [f"{path}: only in the {other_is} run" for path in added]
        for path in sorted(ours & theirs):
            found = next(compare(straight / path, other / path), None)
            if found is not None:
                lines.append(f"{path}: {found}")
    if not any(straight.rglob(f"*{SUFFIX}")):
        lines.append(f"{straight}: the straight run left no checkpoint, so nothing was compared")
    return lines


def _is_of_a_stop(path: Path, stopped_after: Collection[int]) -> bool:
    match = re.search(r"_step([0-9]+)\.pd[a-z]+$", path.name)
    return match is not None and int(match[1]) in stopped_after


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
