"""What a loader's data hold besides the global generators: the dataset, the sampler and the collate function."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.leaves import same_cells
from paddle_resume.found_state.owners import are_same
from paddle_resume.found_state.walker import Walker

# One walker for each loader, which sees its data first when it is gone through for the first time.
_WALKERS: weakref.WeakKeyDictionary[Any, Walker] = weakref.WeakKeyDictionary()


def look(loader: Any) -> list[Any]:
    """What has moved in a loader's data since it was gone through for the first time."""
    walker = _WALKERS.get(loader)
    if walker is None:
        roots = {"dataset": loader.dataset, "sampler": loader.batch_sampler, "collate_fn": loader.collate_fn}
        given = {name: each for name, each in roots.items() if each is not None}
        walker = _WALKERS[loader] = Walker(given, Claims(), is_alone=True)
    return [*map(_copied, walker.capture())]


def _copied(record: Any) -> Any:
    """A record whose arrays are no views of what goes on."""
    if isinstance(record, dict):
        return {name: _copied(each) for name, each in record.items()}
    if isinstance(record, (list, tuple)):
        return [*map(_copied, record)]
    return record.copy() if isinstance(record, np.ndarray) else record


def put_back(loader: Any, looked: list[Any]) -> None:
    look(loader)
    _WALKERS[loader].restore(looked[0], looked[1])


def is_same_but(then: list[Any], now: list[Any], noted: set[str]) -> bool:
    moved, others = then[0]["moved"], now[0]["moved"]
    for path in {*moved, *others}:
        one, other = (_without_plain(each.get(path), path, noted) for each in (moved, others))
        if not same_cells(one, other):
            return False
    names = {*then[1], *now[1]}
    return len(then[0]["new"]) == len(now[0]["new"]) and all(
        are_same(then[1].get(name), now[1].get(name)) for name in names
    )


def _without_plain(entry: Any, path: str, noted: set[str]) -> Any:
    if entry is None or path != "dataset":
        return entry
    labels, values = entry.get("labels") or [], entry.get("values") or []
    kept = [(label, value) for label, value in zip(labels, values) if f"{path}.{label}" not in noted]
    return kept or None
