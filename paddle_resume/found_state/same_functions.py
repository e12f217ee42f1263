"""What stands now for a thing of the start: a function made anew in the course of the run, or what a restore made."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Optional

from paddle_resume.found_state.function_kinds import code_key
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.walk import Walk


class SameFunctions:
    """Which thing of the start each new one stands for.

    What cannot take on other content, such as an iterator, was replaced by a restore; it goes on under its old path, so
    that a record is the same as if there had been none. A record cannot hold a program. But the next process has the
    function of the start, such as a lambda in a method that is called in each epoch, of which this one is another copy,
    if there is exactly one that is gone since; and with it its variables.
    """

    def __init__(self, walk: Walk, order: Sequence[Node]) -> None:
        self._started: dict[int, Node] = {
            id(made): node for made, node in walk.replaced.values() if not walk.is_reached(node)
        }
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
