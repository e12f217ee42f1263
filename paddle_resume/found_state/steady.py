"""Containers and objects in which nothing moved between two looks, compared with the look before all at once."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Callable

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.container_kinds import DictKind, OrderedDictKind, SequenceKind, SetKind
from paddle_resume.found_state.grad_hooks import NOTED
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.object_kinds import ObjectKind
from paddle_resume.found_state.tensor_kind import TensorKind, forms_of

# What goes through a container shows what it holds at that moment, and so does a view of it.
_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    SequenceKind: lambda thing: (thing,),
    SetKind: lambda thing: (thing,),
    DictKind: lambda thing: (thing, dict.values(thing)),
    OrderedDictKind: lambda thing: (thing, OrderedDict.values(thing)),
}


def can_be_steady(node: Node, claimed: Claimed) -> bool:
    """Whether what a node holds is told by what it refers to, in this order, and nothing else.

    Of a tensor whose values an owner saves that is what is told of all of them here, if it never had a hook.
    """
    if node.objects is None or node.moves or node.owner:
        return False
    if type(node.kind) is TensorKind:
        return id(node.thing) in claimed.tensors and id(node.thing) not in NOTED
    return type(node.kind) in _PARTS or (type(node.kind) is ObjectKind and node.kind.has_only_dict)


class LastRun:
    """What a run over everything found, for the next one to go on from.

    It holds as long as the steady nodes refer to what they referred to, and the others, each looked at by itself, lead
    to the same nodes: then the same ones can be reached, in the same order.
    """

    def __init__(self, order: Sequence[Node], claimed: Claimed) -> None:
        steady = {id(node) for node in order if can_be_steady(node, claimed)}
        self._steady = Steady(node for node in order if id(node) in steady)
        self._watched = [node for node in order if id(node) not in steady and not node.owner and node.kind.can_move]
        self.suspects = [node for node in order if id(node) not in steady or not node.is_as_at_start]
        """The nodes that may be otherwise than at the start, as long as this holds."""

    def leads_on(self, claimed: Claimed, look: Callable[[Node], None]) -> bool:
        """Whether it still holds; brings the nodes that are not steady up to date by `look`."""
        if not self._steady.holds(claimed):
            return False
        for node in self._watched:
            children = node.children
            look(node)
            if node.children != children:
                return False
        return True


class Steady:
    """What these nodes refer to: each has to be up to date now, and what `can_be_steady` says.

    A run has hundreds of them, of which a Layer alone has a dozen, and asking one by one takes longer than all else in
    a small save. Nothing is taken on trust: each reference of each is compared at each look, by identity.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._tensors: list[Any] = []
        self._forms: list[Any] = []
        self._objects: list[tuple[Callable[[Any], dict], Any, type, dict]] = []
        self._containers: list[Any] = []
        self._lengths: list[int] = []
        self._filled: list[Any] = []
        self._known: list[Sequence[Any]] = []
        for node in nodes:
            thing, kind, known = node.thing, node.kind, node.objects
            assert known is not None
            if isinstance(kind, TensorKind):
                self._tensors.append(thing)
                (stops, persists), dtype, shape = node.detail
                self._forms.append((stops, persists, dtype, [*shape]))
            if isinstance(kind, ObjectKind):
                if kind.dict_of is None:  # a plain tensor
                    continue
                held = kind.dict_of(thing)
                self._objects.append((kind.dict_of, thing, kind.cls, held))
                parts = _PARTS[DictKind](held)
            else:
                parts = _PARTS[type(kind)](thing)
            self._containers.append(parts[0])
            self._lengths.append(len(known) // len(parts))
            if known:
                self._filled += parts
                self._known.append(known)
        self._numbers = set(map(id, self._tensors))

    def holds(self, claimed: Claimed) -> bool:
        """Whether each of them refers to the same things as when this was built, by the same names and in the same
        order."""
        try:
            return (
                self._numbers <= claimed.tensors.keys()
                and self._numbers.isdisjoint(NOTED)
                and forms_of(self._tensors) == self._forms
                and [*map(len, self._containers)] == self._lengths
                and all(of(thing) is held and type(thing) is cls for of, thing, cls, held in self._objects)
                and all(map(operator.is_, chain.from_iterable(self._filled), chain.from_iterable(self._known)))
            )
        except RuntimeError:  # A thread changes one of them: whoever looks at it by itself finds how it is.
            return False
