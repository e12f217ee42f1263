"""`diff`: where two checkpoints differ, tensors by their largest difference, then what the records hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from paddle_resume.checkpoint.record import Record
from paddle_resume.checkpoint.record_differences import value_differences
from paddle_resume.toolbox.array_figures import difference, type_name
from paddle_resume.toolbox.byte_progress import Advance, unheard
from paddle_resume.toolbox.checkpoint_source import Opened, TensorFile, TensorInfo

# The owners by what a person asks for; all others are told of under their own names.
_ROOMS = {
    "position": ("progress", "data", "evaluation"),
    "random state": ("rng",),
    "learning rate": ("scheduler", "rates"),
    "optimizer": ("settings", "update", "precision"),
    "config": ("config",),
    "environment": ("environment",),
}
_HEADER = ("step", "epoch", "phase", "exact")


@dataclass(frozen=True)
class TensorDifference:
    """One tensor that is not the same; the figures are None where the two cannot be subtracted, for the `reason`.

    `largest` is the largest absolute difference of two values, `relative` the norm of the difference over that of
    the first tensor, `values` how many of the `of` values differ by a bit.
    """

    file: str
    name: str
    reason: str = ""
    largest: Optional[float] = None
    relative: Optional[float] = None
    values: Optional[int] = None
    of: Optional[int] = None


@dataclass(frozen=True)
class Differences:
    """All that differs between two checkpoints, tensors file by file, and what could not be compared."""

    then: str
    now: str
    compared: int
    tensors: list[TensorDifference] = field(default_factory=list)
    state: dict[str, list[str]] = field(default_factory=dict)
    not_compared: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether nothing that was compared differs."""
        return not self.tensors and not self.state


def compare(then: Opened, now: Opened, advance: Advance = unheard) -> Differences:
    """Compare every tensor by its digest and every plain state by its bits; only tensors that differ are read.

    What tells of the way and not of the state is left out: when it was saved, the count of saves, the lineage,
    and the run's folders. Raises CheckpointError if a tensor that has to be read is damaged.
    """
    tensors: list[TensorDifference] = []
    not_compared, compared = [], 0
    for suffix in dict.fromkeys([*then.files, *now.files]):
        if suffix in then.files and suffix in now.files:
            compared += len({*then.files[suffix].tensors} | {*now.files[suffix].tensors})
            tensors += sorted(_compare_files(suffix, then.files[suffix], now.files[suffix], advance), key=_rank)
        else:
            not_compared.append(f"{suffix}: only {(then if suffix in then.files else now).label} has it")
    state = {}
    if then.record and now.record:
        state = {room: lines for room, lines in _compare_records(then.record, now.record) if lines}
    elif then.record or now.record:
        without = now if then.record else then
        not_compared.append(f"position, random state, config and environment: {without.label} has no record")
    if then.record and now.record and not_compared:
        state["files"], not_compared = not_compared, []  # Two runs' records tell all files: a missing one differs.
    return Differences(then.label, now.label, compared, tensors, state, not_compared)


def _compare_files(suffix: str, then: TensorFile, now: TensorFile, advance: Advance) -> Iterator[TensorDifference]:
    for name in dict.fromkeys([*then.tensors, *now.tensors]):
        a, b = then.tensors.get(name), now.tensors.get(name)
        if a is None or b is None:
            yield TensorDifference(suffix, name, f"only in {(then if a else now).path.name}")
        elif (a.dtype, a.shape) != (b.dtype, b.shape):
            yield TensorDifference(suffix, name, f"{_kind(a)} -> {_kind(b)}")
        elif a.digest != b.digest:
            found = difference(then.read(name), now.read(name))
            yield TensorDifference(suffix, name, "", found.largest, found.relative, found.values, found.of)
        advance(a.size if a else 0)


def _compare_records(then: Record, now: Record) -> Iterator[tuple[str, list[str]]]:
    before, after = ({key: getattr(record, key) for key in _HEADER} for record in (then, now))
    rooms: dict[str, list[str]] = {"position": list(value_differences(before, after))}
    room_of = {owner: room for room, owners in _ROOMS.items() for owner in owners}
    for owner in dict.fromkeys([*then.owners, *now.owners]):
        before, after = ({owner: record.owners.get(owner)} for record in (then, now))
        rooms.setdefault(room_of.get(owner, owner), []).extend(value_differences(before, after))
    yield from rooms.items()


def _kind(tensor: TensorInfo) -> str:
    return f"{type_name(tensor.dtype)} {list(tensor.shape)}"


def _rank(found: TensorDifference) -> tuple[Any, ...]:
    """What cannot be subtracted first, then values that are not finite, then the largest difference."""
    largest = found.largest
    if largest is None or math.isnan(largest):
        return (0 if largest is None else 1, 0.0)
    return (2, -largest)
