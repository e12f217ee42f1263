"""What a loader's data hold besides the global generators: the dataset, the sampler and the collate function."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from paddle_resume.found_state.alike import are_same
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.leaves import same_cells
from paddle_resume.found_state.walker import Walker

_PLAIN = (bool, int, float, str, type(None))
# One walker for each loader, which sees its data first when it is gone through for the first time.
_WALKERS: weakref.WeakKeyDictionary[Any, Walker] = weakref.WeakKeyDictionary()


def look(loader: Any) -> list[Any]:
    """What has moved in a loader's data, their classes and modules since it was gone through for the first time."""
    walker = _WALKERS.get(loader)
    if walker is None:
        roots = {"dataset": loader.dataset, "sampler": loader.batch_sampler, "collate_fn": loader.collate_fn}
        given = {name: each for name, each in roots.items() if each is not None}
        walker = _WALKERS[loader] = Walker(given, Claims())
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


def is_same_but_plain(then: list[Any], now: list[Any], loader: Any, *, sampler: bool, dataset: bool) -> bool:
    """Whether the data have not moved, but in the plain values of the `dataset`, and of the `sampler` if it counts."""
    moved, others = then[0]["moved"], now[0]["moved"]
    plain = {place for place, _ in _plain_places(loader) if dataset or place != "dataset"}
    for path in {*moved, *others}:
        if not sampler and path.startswith("sampler"):
            continue
        one, other = (_without_plain(each.get(path), path in plain) for each in (moved, others))
        if not same_cells(one, other):
            return False
    names = {*then[1], *now[1]}
    return len(then[0]["new"]) == len(now[0]["new"]) and all(
        are_same(then[1].get(name), now[1].get(name)) for name in names
    )


def plain_values(loader: Any) -> dict[str, dict[str, Any]]:
    """The plain values, such as the number of an epoch, that the dataset and the samplers keep, by which of them."""
    return {place: plain_fields(thing) for place, thing in _plain_places(loader)}


def set_plain_values(loader: Any, values: dict[str, dict[str, Any]]) -> None:
    for place, thing in _plain_places(loader):
        vars(thing).update(values[place])


def plain_fields(thing: Any) -> dict[str, Any]:
    """The plain values that an object keeps."""
    return {name: value for name, value in getattr(thing, "__dict__", {}).items() if type(value) in _PLAIN}


def _plain_places(loader: Any) -> list[tuple[str, Any]]:
    sampler = loader.batch_sampler
    found = [("dataset", loader.dataset), ("sampler", sampler), ("sampler.sampler", getattr(sampler, "sampler", None))]
    return [(place, thing) for place, thing in found if hasattr(thing, "__dict__")]


def _without_plain(entry: Any, is_plain: bool) -> Any:
    if entry is None or not is_plain:
        return entry
    labels, values = entry.get("labels") or [], entry.get("values") or []
    kept = [(label, value) for label, value in zip(labels, values) if isinstance(value, list)]
    return kept or None
