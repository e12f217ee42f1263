"""Containers of the standard library, each put back as what it is and, where it is mutable, in place."""

from __future__ import annotations

import collections
from collections.abc import Hashable, Sequence
from typing import Any, Optional

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.object_kinds import dict_reader
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

_SHOWN = 40  # letters of a key in a path


class SequenceKind(Kind):
    """A list."""

    tag = "list"
    types: tuple[type, ...] = (list,)
    base: Any = list
    """The class whose own methods are used, so that none of a class derived from it is called."""

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [*self.base.__iter__(thing)], None

    def new(self, cls: type, held: Any) -> Any:
        return self.base.__new__(cls)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        self.base.__setitem__(thing, slice(None), values)


class DequeKind(SequenceKind):
    """A deque, with its greatest length."""

    tag = "deque"
    types: tuple[type, ...] = (collections.deque,)
    base = collections.deque

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [*self.base.__iter__(thing)], self._maxlen(thing)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return self._maxlen(thing)

    def check(self, saved: Any, source: ArraySource) -> Any:
        if saved is not None and (type(saved) is not int or not 0 <= saved < 1 << 62):
            raise Problem(f"a deque has no maxlen {str(saved)[:40]}")
        return saved

    def fits(self, thing: Any, held: Any) -> str:
        now = self._maxlen(thing)
        return "" if now == held else f"its maxlen was {held} and is {now}"

    def new(self, cls: type, held: Any) -> Any:
        made: Any = self.base.__new__(cls)
        self.base.__init__(made, (), held)
        return made

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        self.base.clear(thing)
        self.base.extend(thing, values)

    def _maxlen(self, thing: Any) -> Any:
        return vars(self.base)["maxlen"].__get__(thing)


class TupleKind(Kind):
    """A tuple that holds something mutable."""

    tag = "tuple"
    types: tuple[type, ...] = (tuple,)
    is_rewritten = False

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [*tuple.__iter__(thing)], None

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        return tuple(values)


class NamedTupleKind(TupleKind):
    """A tuple of a class made by `namedtuple`."""

    tag = "namedtuple"
    types = ()

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        return list(fields_of(type(thing)) or ()), objects

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.{label}"

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        if tuple(labels or ()) != fields_of(cls):
            raise Problem(f"{cls.__qualname__} has other fields")
        return tuple.__new__(cls, values)

    def is_of(self, cls: type) -> bool:
        return fields_of(cls) is not None

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        return "" if labels is not None and len(labels) == len(values) else "a named tuple has a name for each item"


def fields_of(cls: type) -> Optional[tuple[str, ...]]:
    """The fields of a class that is a named tuple, or None for any other."""
    fields = next((vars(base)["_fields"] for base in cls.__mro__ if "_fields" in vars(base)), None)
    is_named = issubclass(cls, tuple) and isinstance(fields, tuple) and dict_reader(cls) is None
    return fields if is_named else None


class DictKind(Kind):
    """A dict, its items in their order; with keys of any kind that can be found again."""

    tag = "dict"
    types: tuple[type, ...] = (dict,)
    base: Any = dict

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [*self.base.__iter__(thing), *self.base.values(thing)], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        count = len(objects) // 2
        return objects[:count], objects[count:]

    def edge(self, path: str, label: Any) -> str:
        text = repr(label) if type(label) in (str, int, float, bool, bytes) else f"<{type(label).__name__}>"
        return f"{path}[{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}]"

    def new(self, cls: type, held: Any) -> Any:
        return self.base.__new__(cls)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        self.base.clear(thing)
        for label, value in zip(labels or (), values):
            self.base.__setitem__(thing, label, value)

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        return "" if labels is not None and len(labels) == len(values) else f"a {self.tag} has a key for each value"


class OrderedDictKind(DictKind):
    tag = "OrderedDict"
    types = (collections.OrderedDict,)
    base = collections.OrderedDict


class CounterKind(DictKind):
    tag = "Counter"
    types = (collections.Counter,)


class DefaultDictKind(DictKind):
    """A defaultdict; what makes its missing values comes first."""

    tag = "defaultdict"
    types = (collections.defaultdict,)
    base = collections.defaultdict
    _FACTORY = "default_factory"

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        factory = vars(self.base)[self._FACTORY].__get__(thing)
        return [self._FACTORY, *dict.__iter__(thing), factory, *dict.values(thing)], None

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.{label}" if label is self._FACTORY else super().edge(path, label)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        vars(self.base)[self._FACTORY].__set__(thing, values[0])
        super().write(thing, list(labels or ())[1:], values[1:], held)

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        if not labels or labels[0] != self._FACTORY or not (values[0] is None or callable(values[0])):
            return "a defaultdict begins with what makes its values"
        return super().refuses(labels, values, thing)


class SetKind(Kind):
    """A set; a record has its items in the order in which they come."""

    tag = "set"
    types: tuple[type, ...] = (set,)
    base: Any = set

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [*self.base.__iter__(thing)], None

    def new(self, cls: type, held: Any) -> Any:
        return self.base.__new__(cls)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        self.base.clear(thing)
        self.base.update(thing, values)


class FrozenSetKind(SetKind):
    """A frozenset of things that are found by identity, such as layers."""

    tag = "frozenset"
    types = (frozenset,)
    base = frozenset
    is_rewritten = False

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        return frozenset(values)


CONTAINERS: tuple[Any, ...] = (
    *(DequeKind(), OrderedDictKind(), CounterKind(), DefaultDictKind(), SequenceKind(), DictKind(), SetKind()),
)
"""The kinds of those that can be changed, the more special ones first."""
