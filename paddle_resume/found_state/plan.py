"""How a record is put back: all is looked up, checked and made first, and only then is anything changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Callable, NamedTuple, Optional

from paddle_resume.errors import CheckpointError
from paddle_resume.found_state.dispatch import CLASS, OWNER
from paddle_resume.found_state.kind import REFUSED, TOLD, Kind, is_a
from paddle_resume.found_state.known import Known
from paddle_resume.found_state.leaves import class_key
from paddle_resume.found_state.made_objects import LEFT, MadeObjects, require_keys, with_path, without_left
from paddle_resume.found_state.node import NOT_KEPT, BulkKind, Node
from paddle_resume.found_state.object_kinds import ClassKind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.record_entries import Entry, read_entry
from paddle_resume.found_state.stored_arrays import ArraySource
from paddle_resume.found_state.subclass_kinds import SubclassKind
from paddle_resume.found_state.walk import Walk

FORMAT = 1


class Write(NamedTuple):
    """A live object and what it is to hold."""

    path: str
    kind: Kind
    thing: Any
    labels: Optional[list[Any]]
    values: list[Any]
    held: Any
    gone: list[Any]


class Plan:
    """What a record changes in a run. Building it changes nothing, and raises CheckpointError for what does not fit."""

    def __init__(
        self, walk: Walk, record: Mapping[str, Any], source: ArraySource, without: Collection[str] = ()
    ) -> None:
        self._walk = walk
        self._known = Known(walk, source, without)
        self._writes: list[Write] = []
        self._states: list[tuple[str, Callable[[Any], None], Any]] = []
        self._parts: list[MadeObjects] = []
        try:
            moved = _entries(record)
            self._moved = {path: entry for path, entry in moved.items() if not self._is_left_out(path, entry)}
            walk.run()
            replaced = with_path("the record", self._replaced)
            self._objects = MadeObjects(record["new"], replaced, self._known)
            for path, kind, thing, labels, values in self._objects.fill():
                self._writes.append(Write(path, kind, thing, labels, values, None, []))
            made = self._objects.replaced().items()
            self._instead = {id(self._known.at(path).thing): thing for path, thing in made}
            for node in walk.started():
                if not node.owner:
                    with_path(node.path or "the roots", self._plan, node)
        except Problem as problem:
            raise CheckpointError(
                f"The checkpoint does not fit what this run is made of: {problem}. Use the program that it was saved "
                "by, or another checkpoint. Nothing was changed."
            ) from problem

    def carry_out(self) -> None:
        """Change what is to be changed, and call each `set_state_dict` of the user's at last."""
        path = ""
        try:
            for path, kind, thing, labels, values, held, gone in self._writes:  # noqa: B007 (the error names it)
                kind.write(thing, labels, values, held)
                kind.remove(thing, gone)
            path = "an iterator"
            for objects in (self._objects, *self._parts):
                objects.finish()
            for path, restore, state in self._states:  # noqa: B007
                restore(state)
            for node in self._walk.started():
                made = self._instead.get(id(node.thing))
                if made is not None:
                    self._walk.replaced[id(made)] = (made, node)
        except Exception as error:
            raise CheckpointError(
                f"{path} could not be put back: {type(error).__name__}: {error}. Some of the run is changed already; "
                "correct it, and run the same command again."
            ) from error

    def _replaced(self) -> dict[str, tuple[Node, Entry]]:
        """The entries of those objects of the start in whose place others are made.

        They cannot take on other content, such as iterators, or hold what another one is made for, such as tuples.
        """
        found: dict[str, tuple[Node, Entry]] = {}
        for path, entry in self._moved.items():
            node = self._known.at(path)
            self._require_same_kind(node, entry)
            if not node.kind.is_rewritten:
                found[path] = (node, entry)
        for node in self._walk.started():
            if not node.kind.is_rewritten and not node.owner and node.path not in found:
                self._walk.look_again(node)
                if node.start is None or node.detail != node.start.detail or not _same(node.values, node.start.values):
                    found[node.path] = (node, with_path(node.path, self._entry_of_start, node))
        things, before = {id(node.thing) for node, _ in found.values()}, 0
        while len(things) > before:
            before = len(things)
            for node in self._walk.started():
                if node.owner or node.kind.is_rewritten or id(node.thing) in things or node.start is None:
                    continue
                if any(id(value) in things for value in node.start.values):
                    found[node.path] = (node, with_path(node.path, self._entry_of_start, node))
                    things.add(id(node.thing))
        return found

    def _entry_of_start(self, node: Node) -> Entry:
        """For what had not moved when it was saved: another one as it was at the start."""
        self._held_at_start(node)
        saved = node.start.saved if node.start is not None else None
        return Entry(node.kind.tag, None, None, None, None, [], saved, None)

    def _is_left_out(self, path: str, entry: Entry) -> bool:
        """Also what a class held of which no object is left."""
        is_gone_class = entry.tag == CLASS.tag and path not in {node.path for node in self._walk.started()}
        return is_gone_class or self._known.is_left_out(path)

    def _require_same_kind(self, node: Node, entry: Entry) -> None:
        cls = node.thing if isinstance(node.kind, ClassKind) else type(node.thing)
        same = entry.class_key == class_key(cls) if entry.class_key is not None else cls in node.kind.types
        if entry.tag != node.kind.tag or not same or node.problem or node.kind.standing in (REFUSED, TOLD):
            raise Problem(
                f"{node.path}: it was a {entry.class_key or entry.tag} and is a {class_key(type(node.thing))}"
            )

    def _held_at_start(self, node: Node) -> Any:
        assert node.start is not None
        if node.start.saved is NOT_KEPT:
            raise Problem(
                "it had not moved when the checkpoint was saved, so that it was not saved, and has moved here; start "
                "the program anew"
            )
        return node.kind.check(node.start.saved, self._known.source)

    def _plan(self, node: Node) -> None:
        entry = self._moved.get(node.path)
        if node.kind is OWNER:
            if entry is not None:
                self._plan_state(node, entry)
            return
        if node.problem or not node.kind.is_rewritten or (node.kind.standing in (REFUSED, TOLD)):
            return
        self._walk.look_again(node)
        labels, values = self._wanted(node, entry)
        held = self._held(node, entry)
        is_same = labels == [] and not values if node.labels is None and labels is None else False
        is_same = is_same or (_same(labels, node.labels) and _same(values, node.values))
        if held is _AS_IT_IS:
            if is_same:
                return
            held = self._held_at_start(node)
        problem = node.kind.refuses(labels, values, node.thing) if not isinstance(node.kind, BulkKind) else ""
        problem = problem or (node.kind.fits(node.thing, held) if held is not None else "")
        if problem:
            raise Problem(problem)
        if is_a(node.thing, set):
            require_keys(values)
        self._writes.append(Write(node.path, node.kind, node.thing, labels, values, held, _gone(node, labels)))

    def _wanted(self, node: Node, entry: Optional[Entry]) -> tuple[Optional[list[Any]], list[Any]]:
        """The labels and values that the object is to have."""
        start = node.start
        assert start is not None
        labels = start.labels
        values = [self._instead.get(id(value), value) for value in start.values]
        if entry is None:
            return labels, values
        told, given = self._objects.labels(entry), self._objects.values(entry, start.values)
        if node.kind.has_names:
            wanted = dict(zip(labels or (), values))
            for name in entry.gone:
                wanted.pop(name, None)
            now = dict(zip(node.labels or (), node.values))
            if len(told or ()) != len(given or ()):
                raise Problem("each attribute has one value")
            for name, value in zip(told or (), given or ()):
                if value is not LEFT:
                    wanted[name] = value
                elif name in now:
                    wanted[name] = now[name]
                else:
                    wanted.pop(name, None)
            return list(wanted), list(wanted.values())
        if given is None:
            return labels, values
        if told is not None and len(told) != len(given):
            raise Problem("each label has one value")
        if told is None and labels is not None and len(labels) == len(given):
            told = labels  # Only the values have moved.
        return without_left(told, given)

    def _held(self, node: Node, entry: Optional[Entry]) -> Any:
        """What it is to hold besides its values; _AS_IT_IS if that is what it holds now."""
        start = node.start
        assert start is not None
        if entry is not None and entry.more is not None:
            return node.kind.check(entry.more, self._known.source)
        if node.detail == start.detail:
            return _AS_IT_IS
        return self._held_at_start(node)

    def _plan_state(self, node: Node, entry: Entry) -> None:
        state = entry.state
        if state is None or type(state.get("new")) is not list or "value" not in state:
            raise Problem("the state of an owner is a value, and what is new in it")
        part = MadeObjects(state["new"], {}, self._known)
        part.fill()
        self._parts.append(part)
        self._states.append((f"{node.path}.set_state_dict()", node.thing.set_state_dict, part.value(state["value"])))


def _entries(record: Mapping[str, Any]) -> dict[str, Entry]:
    if not isinstance(record, Mapping) or record.get("format") != FORMAT:
        raise Problem(f"the record has a format that is not {FORMAT}")
    moved, new = record.get("moved"), record.get("new")
    if type(moved) is not dict or type(new) is not list or not all(type(path) is str for path in moved):
        raise Problem("a record tells what has moved, by path, and what is new")
    return {path: with_path(path[:200], read_entry, raw) for path, raw in moved.items()}


def _gone(node: Node, labels: Optional[list[Any]]) -> list[Any]:
    """The attributes that the object has and is not to have."""
    is_named = node.kind.has_names or isinstance(node.kind, SubclassKind)
    wanted = {(type(label), label) for label in labels or ()} if is_named else None
    return [] if wanted is None else [label for label in node.labels or () if (type(label), label) not in wanted]


def _same(some: Optional[list[Any]], others: Optional[list[Any]]) -> bool:
    if some is None or others is None:
        return some is others
    return len(some) == len(others) and all(one is other for one, other in zip(some, others))


_AS_IT_IS = type("_AsItIs", (), {})()
