"""Containers and objects in which nothing moved between two looks, compared with the look before all at once."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Callable

from paddle_resume.found_state.container_kinds import DictKind, OrderedDictKind, SequenceKind, SetKind
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.object_kinds import ObjectKind

# What goes through a container shows what it holds at that moment, and so does a view of it.
_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    SequenceKind: lambda thing: (thing,),
    SetKind: lambda thing: (thing,),
    DictKind: lambda thing: (thing, dict.values(thing)),
    OrderedDictKind: lambda thing: (thing, OrderedDict.values(thing)),
}


def can_be_steady(node: Node) -> bool:
    """Whether what a node holds is told by what it refers to, in this order, and nothing else."""
    if node.objects is None or node.moves or node.owner:
        return False
    return type(node.kind) in _PARTS or (type(node.kind) is ObjectKind and node.kind.has_only_dict)


class Steady:
    """What these nodes refer to: each has to be up to date now, and what `can_be_steady` says.

    A run has hundreds of them, of which a Layer alone has a dozen, and asking one by one takes longer than all else in
    a small save. Nothing is taken on trust: each reference of each is compared at each look, by identity.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._objects: list[tuple[Callable[[Any], dict], Any, type, dict]] = []
        self._parts: list[Any] = []
        self._lengths: list[int] = []
        self._known: list[Sequence[Any]] = []
        for node in nodes:
            thing, kind, known = node.thing, node.kind, node.objects
            assert known is not None
            if isinstance(kind, ObjectKind):
                assert kind.dict_of is not None
                held = kind.dict_of(thing)
                self._objects.append((kind.dict_of, thing, kind.cls, held))
                parts = _PARTS[DictKind](held)
            else:
                parts = _PARTS[type(kind)](thing)
            self._parts += parts
            self._lengths += [len(known) // len(parts)] * len(parts)
            self._known.append(known)
        self._filled = [part for part, length in zip(self._parts, self._lengths) if length]

    def holds(self) -> bool:
        """Whether each of them refers to the same things as when this was built, by the same names and in the same
        order."""
        try:
            return (
                [*map(len, self._parts)] == self._lengths
                and all(of(thing) is held and type(thing) is cls for of, thing, cls, held in self._objects)
                and all(map(operator.is_, chain.from_iterable(self._filled), chain.from_iterable(self._known)))
            )
        except RuntimeError:  # A thread changes one of them: whoever looks at it by itself finds how it is.
            return False
