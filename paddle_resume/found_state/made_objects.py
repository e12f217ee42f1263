"""The objects that a record speaks of: those of the start, and new ones, each made once its parts are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Optional, Union

from paddle_resume.found_state import process_values
from paddle_resume.found_state.capture import AT_START, CLOCK, FUNCTION, ID, LEAVE, NEW, is_found_by_identity
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.known import Known
from paddle_resume.found_state.leaf_reading import leaf_of
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.object_kinds import ClassKind
from paddle_resume.found_state.packed_values import unpack
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.record_entries import Entry, kind_to_make, read_entry

LEFT = type("_Left", (), {})()
"""Stands for what a record says nothing of, such as a lock: whatever is there now stays."""
_Reference = Union[int, str]  # a new object by its number, one of the start by its path


class _ToMake(NamedTuple):
    """A new object, or one in the place of an object of the start, whose labels and values are `given`."""

    kind: Kind
    cls: type
    entry: Entry
    held: Any
    given: tuple[Optional[list[Any]], list[Any]]


class MadeObjects:
    """Looks references up. `replaced` are the entries of objects of the start in whose place others are made."""

    def __init__(self, new: list[Any], replaced: dict[str, tuple[Node, Entry]], known: Known) -> None:
        self._known = known
        self._made: dict[_Reference, Any] = {}
        self._to_make: dict[_Reference, _ToMake] = {}
        self._replaced: dict[int, str] = {}
        for index, raw in enumerate(new):
            with_path(f"new object {index}", self._begin, index, raw)
        for path, (node, entry) in replaced.items():
            assert node.start is not None
            held = with_path(path, node.kind.check, entry.more, known.source)
            given = (node.start.labels, node.start.values)
            self._to_make[path] = _ToMake(node.kind, type(node.thing), entry, held, given)
            self._replaced[id(node.thing)] = path
        for reference, one in self._to_make.items():
            if one.kind.is_rewritten:
                self._made[reference] = with_path(_told(reference), one.kind.new, one.cls, one.held)
        for reference in self._to_make:
            self._build(reference)

    def fill(self) -> list[tuple[str, Kind, Any, Optional[list[Any]], list[Any]]]:
        """Give the new objects what they hold, of which the run knows nothing yet; returns what is to hold for classes.

        A class is no new object, so it must not be changed before all is known to fit.
        """
        classes: list[tuple[str, Kind, Any, Optional[list[Any]], list[Any]]] = []
        for reference, one in self._to_make.items():
            if one.kind.is_rewritten:
                labels, values = with_path(_told(reference), self._content, one, self._made[reference])
                if isinstance(one.kind, ClassKind):
                    classes.append((one.entry.class_key or "", one.kind, one.cls, labels, values))
                else:
                    with_path(_told(reference), one.kind.write, self._made[reference], labels, values, one.held)
        return classes

    def finish(self) -> None:
        """Do what is left when all objects, also those of the run, hold their content."""
        for reference, one in self._to_make.items():
            if not one.kind.is_rewritten:
                one.kind.finish(self._made[reference], one.held)

    def value(self, cell: Any) -> Any:
        """What a cell stands for; raises Problem for what is not there, LEFT for what is to stay as it is."""
        if type(cell) is not list or not cell or type(cell[0]) is not str:
            return leaf_of(cell, self._known)
        tag, *rest = cell
        if tag == NEW:
            (reference,) = rest if len(rest) == 1 else (None,)
            if type(reference) is not int or reference not in self._made:
                raise Problem(f"there is no new object {str(reference)[:40]}")
            return self._made[reference]
        if tag == AT_START:
            (path,) = rest if len(rest) == 1 else (None,)
            if self._known.is_left_out(path):
                return LEFT
            node = self._known.at(path)
            return self._made.get(node.path, node.thing)
        if tag == CLOCK:
            return _clock(rest)
        if tag == ID and len(rest) == 1:
            thing = self.value(rest[0])
            return LEFT if thing is LEFT else id(thing)
        if tag == FUNCTION:
            return self._known.find_function(rest[0] if rest else None)
        return LEFT if tag == LEAVE else leaf_of(cell, self._known)

    def values(self, entry: Entry, given: list[Any]) -> Optional[list[Any]]:
        """The values of an entry, or None if it tells of none; `given` are those of the start."""
        if entry.packed is not None:
            return unpack(entry.packed, given, self._known.source)
        return None if entry.values is None else [self.value(cell) for cell in entry.values]

    def labels(self, entry: Entry) -> Optional[list[Any]]:
        """The labels of an entry, or None if it tells of none."""
        return None if entry.labels is None else [self._label(cell) for cell in entry.labels]

    def replaced(self) -> dict[str, Any]:
        """What was made in the place of objects of the start, by path."""
        return {reference: made for reference, made in self._made.items() if isinstance(reference, str)}

    def _label(self, cell: Any) -> Any:
        label = self.value(cell)
        if label is LEFT or not is_found_by_identity(label):
            raise Problem(f"{str(cell)[:80]} cannot be a key")
        try:
            hash(label)
        except TypeError as error:
            raise Problem(f"{str(cell)[:80]} cannot be a key") from error
        return label

    def _begin(self, index: int, raw: Any) -> None:
        entry = read_entry(raw)
        kind, cls = kind_to_make(entry, self._known)
        held = kind.check(entry.more, self._known.source)
        self._to_make[index] = _ToMake(kind, cls, entry, held, (None, []))

    def _build(self, reference: _Reference) -> None:
        """Make what takes no other content later, after the parts of it that do neither."""
        waiting, under_way = [reference], set()
        while waiting:
            reference = waiting[-1]
            if reference in self._made:
                waiting.pop()
                continue
            one = self._to_make[reference]
            parts = [part for part in self._parts(one) if part in self._to_make and part not in self._made]
            if parts and reference in under_way:
                raise Problem(f"{_told(reference)}: it is a part of itself")
            under_way.add(reference)
            waiting += parts
            if not parts:
                self._made[reference] = with_path(_told(reference), self._built, one)

    def _parts(self, one: _ToMake) -> Iterator[_Reference]:
        for value in one.given[1] if one.entry.values is None else ():
            if id(value) in self._replaced:
                yield self._replaced[id(value)]
        for cell in (*(one.entry.labels or ()), *(one.entry.values or ())):
            if type(cell) is list and len(cell) == 2 and cell[0] in (NEW, AT_START) and type(cell[1]) in (int, str):
                yield cell[1]

    def _built(self, one: _ToMake) -> Any:
        labels, values = self._content(one, None)
        return one.kind.build(one.cls, labels, values, one.held)

    def _content(self, one: _ToMake, thing: Any) -> tuple[Optional[list[Any]], list[Any]]:
        """Labels and values; raises Problem if its kind does not take them."""
        labels, values = self.labels(one.entry), self.values(one.entry, one.given[1])
        if values is None:
            labels = one.given[0]
            values = [self._made[self._replaced[id(v)]] if id(v) in self._replaced else v for v in one.given[1]]
        if any(value is LEFT for value in values):
            labels, values = without_left(labels, values)
        problem = one.kind.refuses(labels, values, thing)
        if problem:
            raise Problem(problem)
        if issubclass(one.cls, (set, frozenset)):
            require_keys(values)
        return labels, values


def without_left(labels: Optional[list[Any]], values: list[Any]) -> tuple[Optional[list[Any]], list[Any]]:
    """The same without what is to stay as it is now."""
    if labels is None:
        return None, [value for value in values if value is not LEFT]
    kept = [(label, value) for label, value in zip(labels, values) if value is not LEFT]
    return [label for label, _ in kept], [value for _, value in kept]


def _told(reference: _Reference) -> str:
    return reference if isinstance(reference, str) else f"new object {reference}"


def require_keys(values: list[Any]) -> None:
    """Raises Problem for a value that a set could not hold without running code of its class."""
    for value in values:
        if not is_found_by_identity(value):
            raise Problem(f"an object of {type(value).__qualname__} cannot be in a set")
        try:
            hash(value)
        except TypeError as error:
            raise Problem(f"an object of {type(value).__qualname__} cannot be in a set") from error


def with_path(path: str, function: Any, *arguments: Any) -> Any:
    """Calls `function`; a Problem from it begins with the path, and so does whatever a library raises in making it."""
    try:
        return function(*arguments)
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from problem
    except Exception as error:
        raise Problem(f"{path}: it cannot be made ({type(error).__name__}: {str(error)[:200]})") from error


def _clock(rest: list[Any]) -> Any:
    if len(rest) != 3 or type(rest[0]) is not str or type(rest[1]) not in (int, float) or type(rest[2]) is not bool:
        raise Problem("a clock comes with its name, an age and a type")
    try:
        shown = process_values.shown_before(rest[0], rest[1])
        return int(shown) if rest[2] else shown
    except (KeyError, ValueError, OverflowError) as error:
        raise Problem(f"there is no clock {rest[0][:40]!r} that showed this") from error
