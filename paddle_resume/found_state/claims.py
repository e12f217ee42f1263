"""What the owners of a run account for themselves, so that nothing is saved twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

_NONE: dict[str, str] = {}


class Claims:
    """Whole objects, single attributes of objects, and values of tensors, each with the name of its owner."""

    def __init__(self) -> None:
        self._objects: dict[int, tuple[Any, str]] = {}
        self._attributes: dict[int, tuple[Any, dict[str, str]]] = {}
        self._tensors: list[tuple[Callable[[], Iterable[Any]], str]] = []
        self.roots: dict[str, Any] = {}
        """What claimed objects refer to and their owners leave to the walker, by name."""

    def object(self, thing: Any, owner: str) -> None:
        """`owner` saves all of `thing`, and all that only `thing` refers to."""
        self._objects[id(thing)] = (thing, owner)

    def attributes(self, thing: Any, names: Iterable[str], owner: str) -> None:
        """`owner` saves what these attributes of `thing` hold; the walker looks at its others."""
        _, known = self._attributes.setdefault(id(thing), (thing, {}))
        known.update(dict.fromkeys(names, owner))

    def tensors(self, find: Callable[[], Iterable[Any]], owner: str) -> None:
        """`owner` saves the values of the tensors that `find` gives, which is asked at every look at the run.

        Everything else about them, such as `stop_gradient` and their shape, is the walker's.
        """
        self._tensors.append((find, owner))

    def now(self) -> Claimed:
        """What is claimed at this moment."""
        return Claimed(
            {number: owner for number, (_, owner) in self._objects.items()},
            {number: names for number, (_, names) in self._attributes.items()},
            {id(tensor): owner for find, owner in self._tensors for tensor in find()},
        )


class Claimed:
    """The claims at one moment, by the identity of the object."""

    def __init__(self, objects: dict[int, str], attributes: dict[int, dict[str, str]], tensors: dict[int, str]) -> None:
        self.objects = objects
        self.tensors = tensors
        self._attributes = attributes

    def attributes(self, thing: Any) -> dict[str, str]:
        """The owners of single attributes of `thing` by name."""
        return self._attributes.get(id(thing), _NONE) if self._attributes else _NONE


NOTHING_CLAIMED = Claimed({}, {}, {})
