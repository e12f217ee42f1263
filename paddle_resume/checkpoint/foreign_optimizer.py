"""Binds a foreign `.pdopt` to the parameters of a model: by the names in the files, or by the order of the layers."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Optional

from paddle_resume.checkpoint.foreign_files import MASTER, OPTIMIZER, PARAMETERS
from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError

# Paddle's own names of parameters: layer type, number of the layer, w or b, number of the parameter.
_PADDLE_NAME = re.compile(r"(?P<name>(?P<layer>.+)_(?P<number>\d+)\.(?P<kind>[wb]_\d+))_(?P<slot>.+)_\d+")
_LISTED = 8


def renumbered(prefix: Path, arrays: Arrays) -> Arrays:
    """The arrays with keys that end in `_0`: a second optimizer over the same parameters counted on.

    Raises CheckpointError if two then have one key.
    """
    found: Arrays = {}
    for key, value in arrays.items():
        name = key if key.startswith(f"{MASTER}/") else re.sub(r"_\d+$", "_0", key)
        if name in found:
            raise CheckpointError(f"{prefix}{OPTIMIZER} holds {name} twice, once as {key}; which counts is unknown.")
        found[name] = value
    return found


def owner_of(key: str, names: Container[str]) -> Optional[str]:
    """The parameter of `names` that an entry belongs to, the one with the longest name if several fit."""
    if key.startswith(f"{MASTER}/"):
        name = key[len(MASTER) + 1 :]
        return name if name in names else None
    cuts = [i for i, letter in enumerate(key) if letter == "_"]
    return next((key[:cut] for cut in reversed(cuts) if key[:cut] in names), None)


def refuse_unbound(prefix: Path, arrays: Arrays, names: set[str]) -> None:
    """Raises CheckpointError if an entry belongs to none of these parameters."""
    unbound = [key for key in arrays if owner_of(key, names) is None]
    if unbound:
        raise _unbound(prefix, unbound, "they belong to no parameter of the model by the names in the file")


def names_by_order(
    prefix: Path, arrays: Arrays, ours: dict[str, str], weights: Arrays
) -> tuple[dict[str, str], list[Difference]]:
    """A table structured name -> parameter name in the file, from the order of the layers of each type.

    A model that is built again has the same layers in the same order, only counted from another number. With it comes
    a line that says so. Raises CheckpointError if the layers are not the same.
    """
    known = set(ours.values())
    same_names = all(owner_of(key, known) for key in arrays)
    theirs: dict[str, None] = {}  # In the order of the file.
    for key in arrays:
        name = owner_of(key, known) if same_names else None
        if name is None:
            match = _PADDLE_NAME.fullmatch(f"{key[len(MASTER) + 1 :]}_x_0" if key.startswith(f"{MASTER}/") else key)
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
    note = Difference(
        f"{prefix}{PARAMETERS}", "no table of parameter names", "optimizer state bound by the order of the layers"
    )
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
        f"The optimizer state of {prefix}{OPTIMIZER} cannot be bound to the model: {shown}: {why}. Nothing was "
        "changed. Use the model that it was saved from, or load the weights alone with --weights."
    )
