"""Checkpoints that other programs saved, translated into the states of our owners; what they lack is listed."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from paddle_resume.checkpoint.phases import EVALUATE, TRAIN
from paddle_resume.checkpoint.reader import Arrays, sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.unreadable import Foreign
from paddle_resume.checkpoint.weights import NAME_TABLE, as_array, is_ours, joined, named_arrays
from paddle_resume.differences import Difference, reported_by
from paddle_resume.errors import CheckpointError
from paddle_resume.stateful import HasFile
from paddle_resume.storage.durable_files import temporary
from paddle_resume.storage.restricted_pickle import read_foreign

_PARAMETERS, _OPTIMIZER = ".pdparams", ".pdopt"
_MASTER, _RATE = "master_weights", "LR_Scheduler"
# Paddle's own names of parameters: layer type, number of the layer, w or b, number of the parameter.
_PADDLE_NAME = re.compile(r"(?P<name>(?P<layer>.+)_(?P<number>\d+)\.(?P<kind>[wb]_\d+))_(?P<slot>.+)_\d+")
_PLACE = re.compile(r"(?:^|.*[^A-Za-z])(?P<word>epoch|step|iter)(?P<gap>[_-]?)(?P<number>\d{1,12})")
_LISTED = 8


@dataclass(frozen=True)
class Translated:
    """A foreign checkpoint as states of our owners, and one line for each thing that its files do not tell."""

    prefix: Path
    step: int
    states: dict[str, Any]
    tensors: dict[str, Arrays]
    differences: list[Difference]


@dataclass
class _Position:
    """How many epochs and steps were made, as far as that is known, and how it is known."""

    epochs: Optional[int] = None
    steps: Optional[int] = None
    notes: list[str] = field(default_factory=list)


def is_foreign(prefix: Path) -> bool:
    """Whether weights and optimizer state lie under `prefix`, and another program saved them."""
    if is_ours(sibling(prefix, SUFFIX)) or temporary(sibling(prefix, SUFFIX)).exists():
        return False
    return all(sibling(prefix, suffix).is_file() for suffix in (_PARAMETERS, _OPTIMIZER))


def translate(prefix: Path, owners: Mapping[str, Any], steps_per_epoch: Optional[int] = None) -> Translated:
    """What the files under `prefix` hold for these owners, freshly built.

    Weights go by structured name, optimizer state by the table of names in the `.pdparams` or, without one, by
    the order of the layers of each type. Raises CheckpointError for a file that cannot be read, and for
    optimizer state that cannot be bound, naming it; Unreadable for a `.pdstates` that is something else.
    """
    weights, table = foreign_weights(prefix)
    entries = optimizer_entries(sibling(prefix, _OPTIMIZER))
    rate = entries.pop(_RATE, None)
    notes = [f"{prefix}: another program saved it, and no digest vouches for its files"]
    others = {key for key, value in entries.items() if not isinstance(value, np.ndarray)}
    notes += [f"{_OPTIMIZER} {key}: saved -> nobody here owns it" for key in sorted(others)]
    arrays = {key: value for key, value in entries.items() if key not in others}
    states: dict[str, Any] = {}
    tensors = {_PARAMETERS: weights}
    if "names" in owners:
        ours = owners["names"].state_dict()
        if table is None:
            table, note = _table_by_order(prefix, arrays, ours, weights)
            notes += note
        states["names"] = {**ours, **table}
        tensors[_OPTIMIZER] = _renumbered(prefix, arrays)
        _refuse_strangers(prefix, arrays, set(states["names"].values()))
    if "scheduler" in owners and isinstance(rate, dict):
        scheduler, lines = _scheduler_state(owners["scheduler"].state_dict(), rate)
        notes += lines
        if scheduler is not None:
            states["scheduler"] = scheduler
    position = _position(prefix, rate, steps_per_epoch)
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


def foreign_weights(prefix: Path) -> tuple[Arrays, Optional[dict[str, str]]]:
    """The weights by structured name, and the file's table structured name -> parameter name, if it has one."""
    path = sibling(prefix, _PARAMETERS)
    content = read_foreign(path)
    table = content.get(NAME_TABLE) if isinstance(content, dict) else None
    if table is not None and not (isinstance(table, dict) and all(isinstance(v, str) for v in table.values())):
        raise CheckpointError(f"{path} is damaged: its table of parameter names holds something else.")
    weights = named_arrays(path, content)
    return weights, {k: v for k, v in table.items() if k in weights} if table else None


def optimizer_entries(path: Path) -> dict[str, Any]:
    """The entries of a `.pdopt` by name, master weights as `master_weights/<parameter>`."""
    content = read_foreign(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path} holds something else than a dict of optimizer state by name.")
    content.pop(NAME_TABLE, None)
    masters = content.pop(_MASTER, {})
    if not isinstance(masters, dict):
        raise CheckpointError(f"{path} holds {_MASTER} that are no dict of arrays.")
    flat = {**content, **{f"{_MASTER}/{name}": value for name, value in masters.items()}}
    return joined(path, {name: value if name == _RATE else as_array(value) for name, value in flat.items()})


def _renumbered(prefix: Path, arrays: Arrays) -> Arrays:
    """The arrays with keys that end in `_0`: a second optimizer over the same parameters counted on."""
    found: Arrays = {}
    for key, value in arrays.items():
        name = key if key.startswith(f"{_MASTER}/") else re.sub(r"_\d+$", "_0", key)
        if name in found:
            raise CheckpointError(f"{prefix}{_OPTIMIZER} holds {name} twice, once as {key}; which counts is unknown.")
        found[name] = value
    return found


def owner_of(key: str, names: Container[str]) -> Optional[str]:
    """The parameter of `names` that an entry belongs to, the one with the longest name if several fit."""
    if key.startswith(f"{_MASTER}/"):
        name = key[len(_MASTER) + 1 :]
        return name if name in names else None
    cuts = [i for i, letter in enumerate(key) if letter == "_"]
    return next((key[:cut] for cut in reversed(cuts) if key[:cut] in names), None)


def _refuse_strangers(prefix: Path, arrays: Arrays, names: set[str]) -> None:
    unbound = [key for key in arrays if owner_of(key, names) is None]
    if unbound:
        raise _unbound(prefix, unbound, "they belong to no parameter of the model by the names in the file")


def _table_by_order(
    prefix: Path, arrays: Arrays, ours: dict[str, str], weights: Arrays
) -> tuple[dict[str, str], list[str]]:
    """A table structured name -> parameter name in the file, from the order of the layers of each type.

    A model that is built again has the same layers in the same order, only counted from another number.
    """
    known = set(ours.values())
    same_names = all(owner_of(key, known) for key in arrays)
    theirs: dict[str, None] = {}  # In the order of the file.
    for key in arrays:
        name = owner_of(key, known) if same_names else None
        if name is None:
            match = _PADDLE_NAME.fullmatch(f"{key[len(_MASTER) + 1 :]}_x_0" if key.startswith(f"{_MASTER}/") else key)
            if match is None:
                raise _unbound(prefix, [key], "its parameter has a name of its own")
            name = match["name"]
        theirs[name] = None
    structured: dict[str, str] = {}
    for name, parameter in ours.items():
        structured.setdefault(parameter, name)
    mine, table = _in_order(structured), {}
    for group, found in _in_order(theirs).items():
        if len(mine.get(group, [])) != len(found):
            raise _unbound(
                prefix, found, f"the file has {len(found)} parameters {group}, the model {len(mine.get(group, []))}"
            )
        table.update({structured[own]: their for own, their in zip(mine[group], found)})
    for name, their in table.items():
        shapes = {array.shape for key, array in arrays.items() if owner_of(key, theirs) == their and array.size != 1}
        if name in weights and shapes - {weights[name].shape}:
            raise _unbound(prefix, [their], f"{name} has shape {list(weights[name].shape)}")
    note = f"{prefix}{_PARAMETERS}: no table of parameter names -> optimizer state bound by the order of the layers"
    return table, [note] if table else []


def _in_order(parameters: Iterable[str]) -> dict[str, list[str]]:
    """Parameter names by layer type and kind (`linear w_0`), each in the order of the layers' numbers."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in parameters:
        match = _PADDLE_NAME.fullmatch(f"{name}_x_0")
        group, number = (f"{match['layer']} {match['kind']}", int(match["number"])) if match else (name, 0)
        groups.setdefault(group, []).append((number, name))
    return {group: [name for _, name in sorted(found)] for group, found in groups.items()}


def _unbound(prefix: Path, entries: list[str], why: str) -> CheckpointError:
    shown = ", ".join(entries[:_LISTED]) + (f" and {len(entries) - _LISTED} more" if len(entries) > _LISTED else "")
    return CheckpointError(
        f"The optimizer state of {prefix}{_OPTIMIZER} cannot be bound to the model: {shown}: {why}. Nothing was "
        "changed. Use the model that it was saved from, or load the weights alone with --weights."
    )


def _scheduler_state(ours: dict[str, Any], rate: dict[Any, Any]) -> tuple[Optional[dict[str, Any]], list[str]]:
    """Our scheduler's state with what the file's `LR_Scheduler` says, and what of it remains unknown."""
    if ours["class"] == "float":
        return None, [f"learning rate: a schedule at {_shown(rate.get('last_lr'))} -> {ours['state']['value']}"]
    lines = [f"learning rate schedule: class and arguments not saved -> {ours['class']} as configured"]
    unused = {key: value for key, value in rate.items() if value is not None}
    taken: dict[str, dict[str, Any]] = {"given": dict(ours["given"]), "state": dict(ours["state"])}
    for part, name, mine in [(p, name, mine) for p in taken for name, mine in ours[p].items()]:
        if isinstance(mine, dict) and "class" in mine:
            # Paddle keeps the state of the schedule within a LinearWarmup under a name of its own.
            within = next((unused.pop(key) for key in list(unused) if isinstance(unused[key], dict)), None)
            inner, more = _scheduler_state(mine, within) if within is not None else (None, [])
            taken[part][name] = inner or mine
            lines += [f"{line} (within)" for line in more[1:]]
        elif part == "state":
            theirs = unused.pop(name, None)
            if _alike(mine, theirs):
                taken[part][name] = theirs.item() if isinstance(theirs, (np.ndarray, np.generic)) else theirs
            else:
                lines.append(f"learning rate {ours['class']}.{name}: not saved -> {_shown(mine)}")
    lines += [f"learning rate {str(key)[:40]}: saved -> unknown to {ours['class']}" for key in unused]
    return {**ours, **taken}, lines


def _alike(mine: Any, theirs: Any) -> bool:
    """Whether both are numbers, or lists of numbers of one length: nothing else is put into a scheduler."""
    if isinstance(mine, list):
        return isinstance(theirs, list) and len(theirs) == len(mine) and all(map(_alike, mine, theirs))
    if isinstance(theirs, np.ndarray) and theirs.size == 1:
        theirs = theirs.item()
    numbers = (bool, int, float, np.number)
    return isinstance(mine, numbers) and isinstance(theirs, numbers)


def _position(prefix: Path, rate: Any, per_epoch: Optional[int]) -> _Position:
    """Epochs and steps from the `.pdstates`, the scheduler's count, or the name, in this order of trust."""
    by_name, counted_from_zero = _from_name(prefix.name)
    last = rate.get("last_epoch") if isinstance(rate, dict) else None
    ticks = int(last) if isinstance(last, (int, np.integer)) and 0 < last < 1 << 40 else None
    stated, notes = _from_states(prefix)
    position = _Position(notes=notes)
    if stated is not None:
        # `mnist_epoch3` with epoch 3 counts from 0, as its name does; PaddleClas counts from 1.
        shift = counted_from_zero and by_name.epochs == stated + 1
        position.epochs, source = stated + shift, f"epoch {stated} in {prefix.name}{SUFFIX}"
    elif ticks is not None and ticks != by_name.epochs and by_name.steps is None:
        position.steps, source = ticks, f"{ticks} steps of its LR_Scheduler"
    elif by_name.epochs is not None or by_name.steps is not None:
        position.epochs, position.steps, source = by_name.epochs, by_name.steps, f"the name {prefix.name}"
    else:
        position.notes.append("epoch and step: not saved -> 0")
        return position
    _complete(position, ticks, per_epoch)
    done = "unknown" if position.epochs is None else position.epochs
    steps = "unknown -> 0" if position.steps is None else position.steps
    position.notes.append(f"position: not saved exactly -> {done} epochs done, {steps} steps, by {source}")
    if ticks is not None and position.steps != ticks:
        position.notes.append(f"learning rate schedule: made {ticks} steps in {done} epochs -> steps with each update")
    return position


def _complete(position: _Position, ticks: Optional[int], per_epoch: Optional[int]) -> None:
    """Epochs from steps or steps from epochs; a run that stood within an epoch goes on with the one after."""
    if per_epoch is None:
        if position.epochs is not None and position.steps is None and ticks != position.epochs:
            position.steps = ticks
    elif position.epochs is None and position.steps is not None:
        position.epochs = -(-position.steps // per_epoch)
        if position.steps % per_epoch:
            position.notes.append(
                f"data: {position.steps % per_epoch} of {per_epoch} batches of an epoch were fed -> its rest is skipped"
            )
    elif position.epochs is not None:
        whole = ticks is not None and -(-ticks // per_epoch) == position.epochs and ticks != position.epochs
        position.steps = ticks if whole else position.epochs * per_epoch


def _from_name(name: str) -> tuple[_Position, bool]:
    """What a name tells: `mnist_epoch3` and `3` count from 0 (four are done), `epoch_3` counts from 1."""
    if re.fullmatch(r"\d{1,9}", name):
        return _Position(epochs=int(name) + 1), True
    match = _PLACE.fullmatch(name)
    if match is None:
        return _Position(), False
    number = int(match["number"])
    if match["word"] != "epoch":
        return _Position(steps=number), False
    return _Position(epochs=number if match["gap"] else number + 1), not match["gap"]


def _from_states(prefix: Path) -> tuple[Optional[int], list[str]]:
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
    lines = [f"{SUFFIX} {key}: saved -> nobody here owns it" for key in others[:_LISTED]]
    return int(epoch) if known else None, lines


def _not_taken(
    prefix: Path, owners: Mapping[str, Any], states: dict[str, Any], tensors: dict[str, Arrays]
) -> list[str]:
    suffixes = {name: owner.suffix if isinstance(owner, HasFile) else None for name, owner in owners.items()}
    taken = {_PARAMETERS, _OPTIMIZER, SUFFIX}
    start = len(prefix.name)
    beside = {p.name[start:] for p in prefix.parent.glob(f"{_escaped(prefix.name)}.*")} - taken
    lines = [f"file {suffix}: saved -> nobody here owns it" for suffix in sorted(beside)]
    files = {suffix for suffix in suffixes.values() if suffix}
    lines += [f"file {suffix}: not saved -> owned here" for suffix in sorted(files - set(tensors))]
    lines += [f"file {suffix}: saved -> nobody here owns it" for suffix in sorted(set(tensors) - files)]
    plain = [name for name, suffix in suffixes.items() if not suffix]
    return lines + [f"state of {name!r}: not saved -> as at this start" for name in plain if name not in states]


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, (bool, int, float, np.number, type(None))) else type(value).__name__
