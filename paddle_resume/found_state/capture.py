"""What a walk has found as a record can hold it: what has moved since the start, and what is new."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Optional

from paddle_resume.errors import StateError
from paddle_resume.found_state import process_values
from paddle_resume.found_state.array_kinds import ArrayKind
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.dispatch import LEAF, OWNER, kind_of, kinds_to_make
from paddle_resume.found_state.kind import CAPTURED, DERIVED, REFUSED, TOLD, is_a
from paddle_resume.found_state.known import Known, function_key
from paddle_resume.found_state.leaves import Names, class_key, leaf_cell, same_cells
from paddle_resume.found_state.node import BulkKind, Node, RootsKind
from paddle_resume.found_state.object_kinds import METHODS, ClassKind, ObjectKind, WrapperKind
from paddle_resume.found_state.packed_values import pack_numbers, pack_picked
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.refusals import Refusals
from paddle_resume.found_state.shared_memory import VIEWS, SharedMemory
from paddle_resume.found_state.stand_ins import StandIns
from paddle_resume.found_state.tensor_kind import TensorKind
from paddle_resume.found_state.uncaptured import INSIDE
from paddle_resume.found_state.walk import HOOK_COUNTER, Walk

_STEADY = (bool, int, float)  # of these a set has its own order in every process; of texts, another one in each
AT_START, NEW, LEAVE, CLOCK, FUNCTION, ID = "@", "#", "leave", "clock", "function", "id"
LEAST_ID = 1 << 32
"""No number below it is taken for the `id()` of a thing, by which programs keep what belongs to a parameter."""


class Capture:
    """One look at a run, written down. The walk has to have been made at this moment."""

    def __init__(self, walk: Walk, known: Known, names: Names, refusals: Refusals, deep: int = 0) -> None:
        assert names.sink is not None
        self._walk = walk
        self._order = walk.suspects
        self._sink = names.sink
        self._refusals = refusals
        self._known = known
        self._names = names
        self._deep = deep
        self._same = StandIns(walk, self._order)
        self._shared = SharedMemory(walk.order)
        self._new = [node for node in self._order if self._is_new(node)]
        self._index = {id(node.thing): index for index, node in enumerate(self._new)}

    def record(self) -> dict[str, Any]:
        """What has moved, by path, and what is new, in the order in which it was found."""
        moved = {}
        for node in self._order:
            if node.standing == REFUSED:
                self._refusals.add(node.path, node.problem or node.kind.told(node.thing))
            stands_for = node if node.start is not None else self._same.started(node)
            if stands_for is None or node.owner:
                continue
            entry = self._moved(node, stands_for)
            if entry is not None:
                moved[stands_for.path] = entry
        if not any("_hooks" in path for path in moved):
            moved.pop(HOOK_COUNTER, None)  # It tells of hooks that came and went, and are gone.
        return {"moved": moved, "new": [self._made(node) for node in self._new]}

    def cell(self, value: Any, path: str, name: Any = None, *, may_be_left: bool = False) -> Any:
        """What the record says for a value; `name` is the attribute's that holds it."""
        kind = kind_of(value)
        if kind is LEAF:
            if type(value) is int and value > LEAST_ID and (found := self._walk.with_id(value)) is not None:
                return [ID, self.cell(found, path)]
            clock = process_values.clock_of(name, value) if name is not None else None
            if clock is not None:
                return [CLOCK, clock, process_values.age(clock, value), type(value) is int]
            return self._leaf(value, path)
        node = self._walk.node_of(value)
        node = self._same.started(node) or node
        if node.start is not None:
            return [AT_START, node.path]
        if id(value) in self._index:
            return [NEW, self._index[id(value)]]
        is_left = node.owner or kind.standing == TOLD or kind is INSIDE or isinstance(kind, WrapperKind)
        if is_left and may_be_left:
            return [LEAVE, kind.told(value)]
        return self._reference(value, path)

    def _reference(self, value: Any, path: str) -> Any:
        """What is found again by its name: a function of a module."""
        kind = kind_of(value)
        if type(value) is types.FunctionType:
            try:
                if self._known.find_function(function_key(value)) is value:
                    return [FUNCTION, function_key(value)]
            except Problem:
                pass  # It is refused below.
        if kind.standing == DERIVED:
            self._refusals.add(path, f"{kind.told(value)}, which was not there at the start and has no name")
        elif kind.standing == TOLD:
            self._refusals.add(path, f"{kind.told(value)} in a thing that was made in the course of the run")
        return None  # What is REFUSED was refused with its node.

    def _leaf(self, value: Any, path: str) -> Any:
        try:
            return leaf_cell(value, self._names, path)
        except Problem as problem:
            self._refusals.add(path, str(problem))
            return None

    def _is_new(self, node: Node) -> bool:
        is_captured = node.start is None and not node.owner and node.standing == CAPTURED
        return is_captured and not isinstance(node.kind, RootsKind) and self._same.started(node) is None

    def _moved(self, node: Node, stands_for: Node) -> Optional[dict[str, Any]]:
        """What has changed in something that was there at the start, or None."""
        if node.kind is OWNER:
            return {"kind": OWNER.tag, "class": class_key(type(node.thing)), "state": self._state_of(node)}
        start = stands_for.start
        assert start is not None
        if stands_for.is_late and node.standing == CAPTURED and not isinstance(node.kind, BulkKind):
            return self._whole(node)
        has_other_detail = node.detail != start.detail
        if node.values is start.values and not has_other_detail:
            return None
        if node.kind.has_names:
            changes = self._changed_attributes(node, start.labels or [], start.values)
        else:
            changes = self._changed_items(node, start.labels, start.values)
        return None if changes is None and not has_other_detail else self._entry(node, changes or {})

    def _changed_attributes(self, node: Node, labels: Sequence[Any], values: Sequence[Any]) -> Optional[dict[str, Any]]:
        before, now = dict(zip(labels, values)), dict(zip(node.labels or [], node.values))
        moved: dict[str, Any] = {}
        for name, value in now.items():
            if name in before and before[name] is value:
                continue
            if node.start is None and isinstance(node.kind, ClassKind) and type(value) in METHODS:
                continue  # The class of something new: its methods are the program's.
            path = node.kind.edge(node.prefix, name)
            both_leaves = name in before and kind_of(value) is LEAF and kind_of(before[name]) is LEAF
            if both_leaves and same_cells(self._leaf(value, path), self._leaf(before[name], path)):
                continue
            cell = self.cell(value, path, name, may_be_left=node.start is not None)
            if name not in before or not same_cells(cell, self._before(before[name], path)):
                moved[name] = cell
        gone = [name for name in before if name not in now]
        changes = {"labels": list(moved), "values": list(moved.values())}
        return {**changes, **({"gone": gone} if gone else {})} if moved or gone else None

    def _changed_items(self, node: Node, labels: Optional[list[Any]], values: list[Any]) -> Optional[dict[str, Any]]:
        if isinstance(node.kind, BulkKind):
            return self._changed_bulk(node, values)
        packed = pack_numbers(node.values, self._sink, node.path)
        packed = packed or pack_picked(node.values, values, self._sink, node.path)
        changes = self._items(node, packed)
        if packed is None and len(values) == len(node.values):
            before: dict[str, Any] = {"values": [self._before(value, node.path) for value in values]}
            if labels is not None:
                before["labels"] = [self._before(label, node.path) for label in labels]
            return None if same_cells(changes, before) else changes
        return changes

    def _before(self, value: Any, path: str) -> Any:
        """The cell of a value of the start."""
        return self._leaf(value, path) if kind_of(value) is LEAF else [AT_START, self._walk.node_of(value).path]

    def _changed_bulk(self, node: Node, values: list[Any]) -> dict[str, Any]:
        packed = pack_picked(node.values, values, self._sink, node.path) if node.labels is None else None
        if packed is None:
            what = f"{node.kind.told(node.thing)} of {len(node.values):,} objects, some of which the start had not"
            self._refusals.add(node.path, what)
        return {"packed": packed}

    def _items(self, node: Node, packed: Optional[list[Any]]) -> dict[str, Any]:
        values: Any = []
        if packed is None:
            edges: Any = node.labels if node.labels is not None else range(len(node.values))
            may_be_left = node.start is not None and node.kind.is_rewritten
            values = [
                self.cell(value, node.kind.edge(node.prefix, edge), may_be_left=may_be_left)
                for edge, value in zip(edges, node.values)
            ]
            if is_a(node.thing, (set, frozenset)):
                values = self._in_an_order(node, values)
        found: dict[str, Any] = {"values": values} if packed is None else {"packed": packed}
        if node.labels is not None:
            found["labels"] = [self._label(label, node) for label in node.labels]
        return found

    def _in_an_order(self, node: Node, cells: list[Any]) -> list[Any]:
        """The items of a set in an order in which they make the same set again, if one is at hand.

        Which item of a set comes first depends on all that was ever in it, and nobody can read that.
        """
        if not all(type(value) in _STEADY for value in node.values):
            return sorted(cells, key=repr)
        backwards = node.values[::-1]
        return cells[::-1] if list(map(id, {*backwards})) == list(map(id, node.values)) else cells

    def _label(self, label: Any, node: Node) -> Any:
        if kind_of(label) is LEAF:
            is_id = type(label) is int and label > LEAST_ID
            return self.cell(label, node.path) if is_id else self._leaf(label, node.path)
        self._require_plain_hash(label, node)
        return self.cell(label, f"{node.path} (a key)")

    def _require_plain_hash(self, key: Any, node: Node) -> None:
        """A key that is compared by code of its class could not be put back without running that."""
        if not is_found_by_identity(key):
            self._refusals.add(node.path, f"a key of class {type(key).__qualname__}, which has a __hash__ of its own")

    def _made(self, node: Node) -> dict[str, Any]:
        """Something that was not there at the start."""
        cls = node.thing if isinstance(node.kind, ClassKind) else type(node.thing)
        told = f"{node.kind.told(node.thing)} made in the course of the run"
        try:
            if node.kind is OWNER or isinstance(node.kind, BulkKind):
                raise Problem("no record can make one")
            found = cls if cls in node.kind.types else self._known.find_class(class_key(cls))
            kind, _ = kinds_to_make(node.kind.tag, found)
            if found is not cls or type(kind) is not type(node.kind):
                raise Problem("no record can make one")
            left_out = node.kind.skipped(node.thing) if isinstance(node.kind, ObjectKind) else []
            if left_out and not isinstance(node.kind, TensorKind):
                raise Problem(f"no record has its {', '.join(left_out)}")
        except Problem as problem:
            self._refusals.add(node.path, f"{told}: {problem}")
            return {}
        base = self._shared.base_of(node)
        if base is not None:
            return self._view(node, base)
        if is_a(node.thing, (set, frozenset)):
            for value in node.values:
                self._require_plain_hash(value, node)
        return self._whole(node)

    def _whole(self, node: Node) -> dict[str, Any]:
        """All that it holds."""
        if node.kind.has_names:
            return self._entry(node, self._changed_attributes(node, (), ()) or {"labels": [], "values": []})
        return self._entry(node, self._items(node, pack_numbers(node.values, self._sink, node.path)))

    def _view(self, node: Node, base: Node) -> dict[str, Any]:
        kind = VIEWS[ArrayKind if isinstance(node.kind, ArrayKind) else TensorKind]
        try:
            more = kind.describe(node.thing, base.thing)
        except Problem as problem:
            self._refusals.add(node.path, f"{node.kind.told(node.thing)} beside {base.path}: {problem}")
            more = None
        return {"kind": kind.tag, "values": [self.cell(base.thing, node.path)], "more": more}

    def _entry(self, node: Node, changes: dict[str, Any]) -> dict[str, Any]:
        entry: dict[str, Any] = {"kind": node.kind.tag}
        cls = node.thing if isinstance(node.kind, ClassKind) else type(node.thing)
        if cls not in node.kind.types:
            entry["class"] = class_key(cls)
        try:
            more = node.kind.save(node.thing, self._sink, node.path, self._walk.claimed)
        except Problem as problem:
            self._refusals.add(node.path, str(problem))
            more = None
        return {**entry, **changes, **({} if more is None else {"more": more})}

    def _state_of(self, node: Node) -> dict[str, Any]:
        """What an object's own `state_dict()` gives, as a record of its own."""
        path = f"{node.path}.state_dict()"
        if self._deep:
            raise StateError(f"{path} is part of what another state_dict() gives; give numbers, arrays and containers.")
        try:
            state = node.thing.state_dict()
        except Exception as error:
            raise StateError(
                f"{path} failed: {type(error).__name__}: {error}. It is called at every save; see to it that it works "
                "at any time."
            ) from error
        walk = Walk({path: state}, Claims(), is_part=True)
        walk.run()
        part = Capture(walk, self._known, self._names, self._refusals, 1)
        return {"value": part.cell(state, path), "new": part.record()["new"]}


def is_found_by_identity(key: Any) -> bool:
    """Whether a dict or a set finds this key without running code of its class."""
    is_plain = kind_of(key) is LEAF or isinstance(kind_of(key), TensorKind)
    return is_plain or type(key).__hash__ is object.__hash__
