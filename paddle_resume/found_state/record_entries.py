"""The entries of a record, checked by type: what kind of thing each tells of, and the cells of what it holds."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from paddle_resume.found_state.dispatch import kinds_to_make
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.known import Known
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.shared_memory import VIEWS
from paddle_resume.found_state.uncaptured import OPAQUE

_KEYS = frozenset({"kind", "class", "labels", "values", "packed", "gone", "more", "state"})


class Entry(NamedTuple):
    """One entry; what is None is as it was at the start."""

    tag: str
    class_key: Optional[str]
    labels: Optional[list[Any]]
    values: Optional[list[Any]]
    packed: Any
    gone: list[str]
    more: Any
    state: Optional[dict[str, Any]]


def read_entry(raw: Any) -> Entry:
    """The entry; raises Problem for what no capture gives."""
    if type(raw) is not dict or not raw.keys() <= _KEYS or type(raw.get("kind")) is not str:
        raise Problem("an entry has a kind, and no keys but those of a record")
    entry = Entry(
        raw["kind"],
        raw.get("class"),
        raw.get("labels"),
        raw.get("values"),
        raw.get("packed"),
        raw.get("gone", []),
        raw.get("more"),
        raw.get("state"),
    )
    for part in (entry.labels, entry.values):
        if part is not None and type(part) is not list:
            raise Problem("labels and values are lists")
    if type(entry.gone) is not list or not all(type(name) is str for name in entry.gone):
        raise Problem("what is gone is told by names")
    if entry.class_key is not None and type(entry.class_key) is not str:
        raise Problem("a class is told by its name")
    if entry.state is not None and type(entry.state) is not dict:
        raise Problem("the state of an owner is a record of its own")
    return entry


def kind_to_make(entry: Entry, known: Known) -> tuple[Kind, type]:
    """The kind and class of something new; raises Problem if no such thing can be made."""
    view = next((kind for kind in VIEWS.values() if kind.tag == entry.tag), None)
    if view is not None and entry.class_key is None:
        return view, view.types[0]
    named = known.find_class(entry.class_key) if entry.class_key is not None else None
    kind, cls = kinds_to_make(entry.tag, named)
    if kind is OPAQUE:
        raise Problem(f"no {entry.tag[:80]!r} of class {str(entry.class_key)[:200]} can be made")
    return kind, cls
