"""What stands now for a thing of the start: what was made anew in the course of the run, or what a restore made."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.found_state.dispatch import LEAF, kind_of
from paddle_resume.found_state.function_kinds import code_key
from paddle_resume.found_state.kind import is_a
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.walk import Walk

MADE_ANEW: set[type] = {paddle.io.DataLoader}
"""Classes of which programs make another object again and again, such as a DataLoader in each epoch."""


class StandIns:
    """Which thing of the start each new one stands for.

    What cannot take on other content, such as an iterator, was replaced by a restore; it goes on under its old path, so
    that a record is the same as if there had been none. A record cannot hold a program. But the next process has the
    function of the start, such as a lambda in a method that is called in each epoch, of which this one is another copy,
    if there is exactly one that is gone since; and with it its variables. So it is with DataLoaders, of which no record
    makes one: what the new one holds becomes the content of that of the start, and of what that one has held.
    """

    def __init__(self, walk: Walk, order: Sequence[Node]) -> None:
        self._started: dict[int, Node] = {
            id(made): node for made, node in walk.replaced.values() if not walk.is_reached(node)
        }
        self._walk = walk
        for node in order:
            if node.start is None and type(node.thing) in MADE_ANEW:
                self._take_made_anew(node)
        new = [node for node in order if node.start is None and type(node.thing) is types.FunctionType]
        if not new:
            return
        free: dict[Any, list[Node]] = {}
        for node in walk.started():
            if type(node.thing) is types.FunctionType and not walk.is_reached(node):
                free.setdefault(code_key(node.thing), []).append(node)
        for node in new:
            found = free.get(code_key(node.thing), [])
            if len(found) == 1:
                self._take(walk, node, found.pop())

    def started(self, node: Node) -> Optional[Node]:
        """The node of the start that a new one stands for, or None."""
        return self._started.get(id(node.thing)) if self._started else None

    def _take(self, walk: Walk, node: Node, started: Node) -> None:
        self._started[id(node.thing)] = started
        for new, old in zip(node.thing.__closure__ or (), started.thing.__closure__ or ()):
            if walk.node_of(new).start is None and not walk.is_reached(walk.node_of(old)):
                self._started[id(new)] = walk.node_of(old)

    def _take_made_anew(self, node: Node) -> None:
        """Where there is one that is gone at the same path, or no other one that is gone."""
        taken = {id(each) for each in self._started.values()}
        alike = [each for each in self._walk.started() if type(each.thing) is type(node.thing)]
        gone = [each for each in alike if not self._walk.is_reached(each) and id(each) not in taken]
        found = [each for each in gone if each.path == node.path] or gone
        if len(found) == 1:
            self._take_with_parts(node, found[0])

    def _take_with_parts(self, node: Node, started: Node) -> None:
        """Also for what the two hold under the same names, as far as that is new in the one and gone with the other."""
        waiting = [(node, started)]
        while waiting:
            node, started = waiting.pop()
            is_known = node.start is not None or id(node.thing) in self._started
            is_there = bool(started.owner) or self._walk.is_reached(started)
            if is_known or is_there or not _fits(node.thing, started.thing):
                continue
            self._started[id(node.thing)] = started
            for new, old in _alike(node, started):
                if kind_of(new) is not LEAF and kind_of(old) is not LEAF:
                    waiting.append((self._walk.node_of(new), self._walk.node_of(old)))


def _fits(new: Any, old: Any) -> bool:
    """Whether the old one can take on what the new one holds."""
    if type(new) is not type(old):
        return False
    is_array = is_a(new, (np.ndarray, paddle.Tensor))
    return not is_array or (new.dtype == old.dtype and tuple(new.shape) == tuple(old.shape))


def _alike(node: Node, started: Node) -> list[tuple[Any, Any]]:
    """What the two hold under the same name, or at the same place."""
    assert started.start is not None
    labels, values = started.start.labels, started.start.values
    if node.labels is None or labels is None:
        return list(zip(node.values, values)) if len(node.values) == len(values) else []
    before = {label: value for label, value in zip(labels, values) if type(label) in (str, int)}
    pairs = zip(node.labels, node.values)
    return [(value, before[label]) for label, value in pairs if type(label) in (str, int) and label in before]
