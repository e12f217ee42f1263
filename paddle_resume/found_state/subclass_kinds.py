"""Objects of classes derived from Python's own and NumPy's: what the base holds, and the attributes beside it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Optional

import numpy as np

from paddle_resume.found_state.array_kinds import array_kind
from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Beside, Kind
from paddle_resume.found_state.object_kinds import ObjectKind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource


class SubclassKind(ObjectKind):
    """The objects of a class derived from a container of Python's: its items, and the attributes beside them."""

    def __init__(self, cls: type, container: Kind) -> None:
        super().__init__(cls)
        self.has_names = False
        self.tag = f"{container.tag} with attributes"
        self._container = container

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        items, held = self._container.read(thing, claimed)
        attributes, _ = super().read(thing, claimed)
        return [*items, *attributes], (len(items), held)

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        items, _ = self._container.read(thing, claimed)
        labels, values = self._container.expand(thing, objects[: len(items)], claimed)
        names, attributes = super().expand(thing, objects[len(items) :], claimed)
        labels = list(range(len(values))) if labels is None else labels
        return [*labels, *map(Beside, names or ())], [*values, *attributes]

    def edge(self, path: str, label: Any) -> str:
        return super().edge(path, label) if type(label) is Beside else self._container.edge(path, label)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return self._container.save(thing, sink, path, claimed)

    def check(self, saved: Any, source: ArraySource) -> Any:
        return self._container.check(saved, source)

    def fits(self, thing: Any, held: Any) -> str:
        return self._container.fits(thing, held)

    def new(self, cls: type, held: Any) -> Any:
        return self._container.new(cls, held)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        items, beside = _apart(labels, values)
        self._container.write(thing, [*items[0]], [*items[1]], held)
        super().write(thing, [*beside[0]], [*beside[1]], held)

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        super().remove(thing, [str(label) for label in labels if type(label) is Beside])

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        items, beside = _apart(labels, values)
        # The items of a list are counted, those of a dict have keys, which may be numbers too.
        of_items = self._container.refuses(items[0], items[1]) and self._container.refuses(None, items[1])
        return of_items or super().refuses(list(map(str, beside[0])), beside[1])

    def is_of(self, cls: type) -> bool:
        return True  # a kind of one class, which was learnt from it


class ValueKind(ObjectKind):
    """The objects of a class derived from what cannot be changed, such as a tuple or a float; their attributes can be.

    Args:
        cls: the class.
        base: what it derives from.
    """

    has_names = False
    is_rewritten = False

    def __init__(self, cls: type, base: type) -> None:
        super().__init__(cls)
        self.tag = f"{base.__name__} with attributes"
        self._base: Any = base
        self._has_items = base in (tuple, frozenset)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        items = [*self._base.__iter__(thing)] if self._has_items else [self._plain(thing)]
        attributes, _ = super().read(thing, claimed)
        return [*items, *attributes], len(items)

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        count = len(objects) - len(super().read(thing, claimed)[0])
        names, attributes = super().expand(thing, objects[count:], claimed)
        return [*range(count), *map(Beside, names or ())], [*objects[:count], *attributes]

    def edge(self, path: str, label: Any) -> str:
        return super().edge(path, label) if type(label) is Beside else f"{path}[{label}]"

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        items, beside = _apart(labels, values)
        made = self._base.__new__(cls, items[1] if self._has_items else items[1][0])
        super().write(made, *beside, held)
        return made

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        items, beside = _apart(labels, values)
        if not self._has_items and [type(value) for value in items[1]] != [self._base]:
            return f"a {self.tag} has one value"
        return super().refuses(*beside)

    def is_of(self, cls: type) -> bool:
        return True  # a kind of one class, which was learnt from it

    def _plain(self, thing: Any) -> Any:
        return self._base.__getnewargs__(thing)[0]


class ArraySubclassKind(ObjectKind):
    """The arrays of a class derived from NumPy's, such as a matrix or one with a mask: its items and its attributes."""

    has_names = False

    def __init__(self, cls: type) -> None:
        super().__init__(cls)
        self.tag = "array with attributes"

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        plain = thing.view(np.ndarray)
        kind = array_kind(plain)
        if kind is None or plain.dtype == object:
            raise Problem(f"an array of class {type(thing).__qualname__} with fields or objects")
        return super().read(thing, claimed)[0], kind.read(plain, claimed)[1]

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return sink.put(path, thing.view(np.ndarray))

    def check(self, saved: Any, source: ArraySource) -> Any:
        return source.get(saved)

    def fits(self, thing: Any, held: Any) -> str:
        kind = array_kind(held)
        return "an array of objects" if kind is None else kind.fits(thing.view(np.ndarray), held)

    def new(self, cls: type, held: Any) -> Any:
        return held.copy(order="K").view(cls)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        if held is not None and thing.flags.writeable:
            thing.view(np.ndarray)[...] = held
        super().write(thing, labels, values, held)

    def is_of(self, cls: type) -> bool:
        return True  # a kind of one class, which was learnt from it


def _apart(labels: Optional[Sequence[Any]], values: list[Any]) -> list[tuple[list[Any], list[Any]]]:
    """Labels and values of the items, and of the attributes beside them."""
    apart: list[tuple[list[Any], list[Any]]] = [([], []), ([], [])]
    for label, value in zip(labels or (), values):
        labels_of, values_of = apart[type(label) is Beside]
        labels_of.append(str(label) if type(label) is Beside else label)
        values_of.append(value)
    return apart
