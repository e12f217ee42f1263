"""Where the run stood that saved a foreign checkpoint: its epochs and steps, as far as its files or its name tell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from paddle_resume.checkpoint.reader import sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.unreadable import Foreign
from paddle_resume.checkpoint.weights import NAME_TABLE, as_array
from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.restricted_pickle import read_foreign

_PLACE = re.compile(r"(?:^|.*[^A-Za-z])(?P<word>epoch|step|iter)(?P<gap>[_-]?)(?P<number>\d{1,12})")
_LISTED = 8


@dataclass
class Position:
    """How many epochs and steps were made, as far as that is known, and how it is known."""

    epochs: Optional[int] = None
    steps: Optional[int] = None
    notes: list[Difference] = field(default_factory=list)


def foreign_position(prefix: Path, rate: Any, per_epoch: Optional[int]) -> Position:
    """Epochs and steps from the `.pdstates`, the scheduler's count, or the name, in this order of trust."""
    by_name, counted_from_zero = position_from_name(prefix.name)
    last = rate.get("last_epoch") if isinstance(rate, dict) else None
    ticks = int(last) if isinstance(last, (int, np.integer)) and 0 < last < 1 << 40 else None
    stated, notes = _from_states(prefix)
    position = Position(notes=notes)
    if stated is not None:
        # `mnist_epoch3` with epoch 3 counts from 0, as its name does; PaddleClas counts from 1.
        shift = counted_from_zero and by_name.epochs == stated + 1
        position.epochs, source = stated + shift, f"epoch {stated} in {prefix.name}{SUFFIX}"
    elif ticks is not None and ticks != by_name.epochs and by_name.steps is None:
        position.steps, source = ticks, f"{ticks} steps of its LR_Scheduler"
    elif by_name.epochs is not None or by_name.steps is not None:
        position.epochs, position.steps, source = by_name.epochs, by_name.steps, f"the name {prefix.name}"
    else:
        position.notes.append(Difference("epoch and step", "not saved", "0"))
        return position
    _complete(position, ticks, per_epoch)
    done = "unknown" if position.epochs is None else position.epochs
    steps = "an unknown number of" if position.steps is None else position.steps
    position.notes.append(
        Difference("position", "not saved exactly", f"{done} epochs done, {steps} steps, by {source}")
    )
    if ticks is not None and position.steps != ticks:
        position.notes.append(
            Difference("learning rate schedule", f"made {ticks} steps in {done} epochs", "steps with each update")
        )
    return position


def _complete(position: Position, ticks: Optional[int], per_epoch: Optional[int]) -> None:
    """Epochs from steps or steps from epochs; a run that stood within an epoch goes on with the one after."""
    if per_epoch is None:
        if position.epochs is not None and position.steps is None and ticks != position.epochs:
            position.steps = ticks
    elif position.epochs is None and position.steps is not None:
        position.epochs = -(-position.steps // per_epoch)
        if position.steps % per_epoch:
            position.notes.append(
                Difference(
                    "data",
                    f"{position.steps % per_epoch} of {per_epoch} batches of an epoch were fed",
                    "its rest is skipped",
                )
            )
    elif position.epochs is not None:
        whole = ticks is not None and -(-ticks // per_epoch) == position.epochs and ticks != position.epochs
        position.steps = ticks if whole else position.epochs * per_epoch


def position_from_name(name: str) -> tuple[Position, bool]:
    """What a name tells: `mnist_epoch3` and `3` count from 0 (four are done), `epoch_3` counts from 1."""
    if re.fullmatch(r"\d{1,9}", name):
        return Position(epochs=int(name) + 1), True
    match = _PLACE.fullmatch(name)
    if match is None:
        return Position(), False
    number = int(match["number"])
    if match["word"] != "epoch":
        return Position(steps=number), False
    return Position(epochs=number if match["gap"] else number + 1), not match["gap"]


def _from_states(prefix: Path) -> tuple[Optional[int], list[Difference]]:
    """The epoch that a pickled `.pdstates` gives, and its other entries, which are not taken over."""
    path = sibling(prefix, SUFFIX)
    if not path.is_file():
        return None, []
    content = read_foreign(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dict with the epoch.")
    if NAME_TABLE in content:
        raise Foreign(f"{path.name} holds weights, not where a run stands")
    epoch: Any = as_array(content.get("epoch"))
    epoch = epoch.item() if isinstance(epoch, np.ndarray) and epoch.size == 1 else epoch
    known = isinstance(epoch, int) and 0 <= epoch < 1 << 31
    others = [str(key)[:40] for key in content if key != "epoch" or not known]
    lines = [Difference(f"{SUFFIX} {key}", "saved", "nobody here owns it") for key in others[:_LISTED]]
    return int(epoch) if known else None, lines
