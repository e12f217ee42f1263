"""Checkpoints that other programs saved, translated into the states of our owners; what they lack is listed."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from paddle_resume.checkpoint.foreign_files import OPTIMIZER, PARAMETERS, SCHEDULER, foreign_weights, optimizer_entries
from paddle_resume.checkpoint.foreign_optimizer import names_by_order, refuse_unbound, renumbered
from paddle_resume.checkpoint.foreign_position import foreign_position
from paddle_resume.checkpoint.foreign_schedule import scheduler_state
from paddle_resume.checkpoint.phases import EVALUATE, TRAIN
from paddle_resume.checkpoint.reader import Arrays, sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.weights import is_ours
from paddle_resume.differences import Difference, reported_by
from paddle_resume.stateful import HasFile
from paddle_resume.storage.durable_files import temporary


@dataclass(frozen=True)
class Translated:
    """A foreign checkpoint as states of our owners, and one line for each thing that its files do not tell."""

    prefix: Path
    step: int
    states: dict[str, Any]
    tensors: dict[str, Arrays]
    differences: list[Difference]


def is_foreign(prefix: Path) -> bool:
    """Whether weights and optimizer state lie under `prefix`, and another program saved them."""
    if is_ours(sibling(prefix, SUFFIX)) or temporary(sibling(prefix, SUFFIX)).exists():
        return False
    return all(sibling(prefix, suffix).is_file() for suffix in (PARAMETERS, OPTIMIZER))


def translate(prefix: Path, owners: Mapping[str, Any], steps_per_epoch: Optional[int] = None) -> Translated:
    """What the files under `prefix` hold for these owners, freshly built.

    Weights go by structured name, optimizer state by the table of names in the `.pdparams` or, without one, by
    the order of the layers of each type. Raises CheckpointError for a file that cannot be read, and for
    optimizer state that cannot be bound, naming it; Unreadable for a `.pdstates` that is something else.
    """
    weights, table = foreign_weights(prefix)
    entries = optimizer_entries(sibling(prefix, OPTIMIZER))
    rate = entries.pop(SCHEDULER, None)
    notes = [Difference(f"{prefix}: another program saved it, and no digest vouches for its files")]
    others = {key for key, value in entries.items() if not isinstance(value, np.ndarray)}
    notes += [Difference(f"{OPTIMIZER} {key}", "saved", "nobody here owns it") for key in sorted(others)]
    arrays = {key: value for key, value in entries.items() if key not in others}
    states: dict[str, Any] = {}
    tensors = {PARAMETERS: weights}
    if "names" in owners:
        ours = owners["names"].state_dict()
        if table is None:
            table, note = names_by_order(prefix, arrays, ours, weights)
            notes += note
        states["names"] = {**ours, **table}
        tensors[OPTIMIZER] = renumbered(prefix, arrays)
        refuse_unbound(prefix, arrays, set(states["names"].values()))
    if "scheduler" in owners and isinstance(rate, dict):
        scheduler, lines = scheduler_state(owners["scheduler"].state_dict(), rate)
        notes += lines
        if scheduler is not None:
            states["scheduler"] = scheduler
    position = foreign_position(prefix, rate, steps_per_epoch)
    notes += position.notes
    step = position.steps or 0
    if "progress" in owners:
        phase = EVALUATE if position.epochs else TRAIN
        states["progress"] = {**owners["progress"].state_dict(), "step": step, "phase": phase}
    if "data" in owners and position.epochs is not None:
        states["data"] = {**owners["data"].state_dict(), "epoch": position.epochs, "samples": 0}
    return Translated(
        prefix, step, states, tensors, reported_by("foreign", [*notes, *_not_taken(prefix, owners, states, tensors)])
    )


def _not_taken(
    prefix: Path, owners: Mapping[str, Any], states: dict[str, Any], tensors: dict[str, Arrays]
) -> list[Difference]:
    suffixes = {name: owner.suffix if isinstance(owner, HasFile) else None for name, owner in owners.items()}
    taken = {PARAMETERS, OPTIMIZER, SUFFIX}
    start = len(prefix.name)
    beside = {p.name[start:] for p in prefix.parent.glob(f"{glob.escape(prefix.name)}.*")} - taken
    lines = [Difference(f"file {suffix}", "saved", "nobody here owns it") for suffix in sorted(beside)]
    files = {suffix for suffix in suffixes.values() if suffix}
    lines += [Difference(f"file {suffix}", "not saved", "owned here") for suffix in sorted(files - set(tensors))]
    lines += [Difference(f"file {suffix}", "saved", "nobody here owns it") for suffix in sorted(set(tensors) - files)]
    plain = [name for name, suffix in suffixes.items() if not suffix]
    return lines + [
        Difference(f"state of {name!r}", "not saved", "as at this start") for name in plain if name not in states
    ]
