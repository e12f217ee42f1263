"""What is found in the processes of an elastic run: the same in all of them, since their number may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from paddle_resume.errors import StateError
from paddle_resume.found_state.capture import CLOCK, NEW
from paddle_resume.found_state.known import is_below
from paddle_resume.found_state.leaves import same_cells

Arrays = Mapping[str, np.ndarray]

_MODEL, _OPTIMIZER = ("model",), ("optimizer",)


def found_alike(every: Sequence[tuple[Any, Arrays]], has_server: bool = False) -> tuple[Any, Arrays]:
    """The record and the arrays of all processes, given each one's by rank; raises StateError for what differs.

    Clocks may. With `has_server` no batch goes through the model of rank 0, and what is found in that is the others'.
    """
    base = int(has_server)
    first, arrays = every[base]
    for rank, (record, own) in enumerate(every):
        ours, theirs = first["moved"], record["moved"]
        if rank < base:
            ours, theirs = _outside_model(ours), _outside_model(theirs)
        paths = [path for path in {**ours, **theirs} if not _same_but_for_clocks(ours.get(path), theirs.get(path))]
        paths += [name for name in {**arrays, **own} if not are_same(arrays.get(name), own.get(name))]
        if rank < base:
            paths = [path for path in paths if not is_below(path, _MODEL)]
            _require_unmoved_by_updates(paths)
        if paths:
            raise StateError(
                f"{paths[0]} is another in rank {max(rank, base)} than in rank {min(rank, base)}. With "
                "parallel.elastic the number of processes may change, so what is saved has to be the same in all of "
                "them: let it not depend on the rank, or name it in derived_attributes if a new process makes it anew."
            )
    return first, arrays


def are_same(one: Optional[np.ndarray], other: Optional[np.ndarray]) -> bool:
    """Whether two arrays are the same, bit for bit; None is like no array."""
    if one is None or other is None or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return one.tobytes() == other.tobytes()


def _require_unmoved_by_updates(paths: Sequence[str]) -> None:
    found = next((path for path in paths if is_below(path, _OPTIMIZER)), None)
    if found is not None:
        raise StateError(
            f"{found} is moved by updates, and with parallel.exchange: server only rank 0 makes them, so that no other "
            "process has it. Keep it in accumulators of the optimizer, or set parallel.exchange: pairs, which gives "
            "the same bits."
        )


def _outside_model(moved: Mapping[str, Any]) -> dict[str, Any]:
    """What lies elsewhere, with new things numbered as if there were none in the model."""
    numbers: dict[int, int] = {}

    def numbered(cell: Any) -> Any:
        if type(cell) is dict:
            return {name: numbered(part) for name, part in cell.items()}
        if type(cell) is not list:
            return cell
        if len(cell) == 2 and cell[0] == NEW:
            return [NEW, numbers.setdefault(cell[1], len(numbers))]
        return [numbered(part) for part in cell]

    return {path: numbered(cell) for path, cell in moved.items() if not is_below(path, _MODEL)}


def _same_but_for_clocks(one: Any, other: Any) -> bool:
    clocks = [isinstance(cell, list) and len(cell) == 4 and cell[0] == CLOCK for cell in (one, other)]
    return all(clocks) or same_cells(one, other)
