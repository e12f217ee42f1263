"""The walk from a run's roots over all that can be reached: one node for each object, found again at each look."""

from __future__ import annotations

import enum
import operator
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Optional

import paddle

from paddle_resume.errors import StateError
from paddle_resume.found_state.claims import NOTHING_CLAIMED, Claimed, Claims
from paddle_resume.found_state.dispatch import CLASS, LEAF, kind_of
from paddle_resume.found_state.kind import TOLD, Kind, is_a
from paddle_resume.found_state.node import BulkKind, Node, RootsKind, Start
from paddle_resume.found_state.object_kinds import ClassKind, ObjectKind
from paddle_resume.found_state.paddle_rules import is_own_container
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.process_settings import PATH as SETTINGS_PATH
from paddle_resume.found_state.process_settings import SETTINGS, SettingsKind
from paddle_resume.found_state.program_globals import ModuleKind, variables_of
from paddle_resume.found_state.steady import LastRun
from paddle_resume.found_state.too_many import too_many
from paddle_resume.found_state.uncaptured import (
    DATA,
    OPAQUE,
    is_another_librarys,
    is_users,
    module_of,
    top_level,
)

MOST_NODES = 1_000_000
_MOST_LETTERS = 400  # of a path; what lies deeper is counted instead of named
_BULK = 2000  # objects in one container at the start: these are data
HOOK_COUNTER = "HookRemoveHelper"  # the path of Paddle's class that numbers all hooks of a process
_HOOKS: Any = paddle.nn.layer.layers.HookRemoveHelper


class Walk:
    """The nodes of everything that can be reached from `roots`.

    `is_part` says that it is a state on its own: without what classes and modules hold.
    """

    def __init__(
        self, roots: Mapping[str, Any], claims: Claims, *, is_part: bool = False, most: Optional[int] = None
    ) -> None:
        self.roots = dict(roots)
        self.claimed: Claimed = NOTHING_CLAIMED
        self.replaced: dict[int, tuple[Any, Node]] = {}
        """What a restore made in the place of a thing of the start, by id, with that one's node."""
        self._claims = claims
        self._nodes: dict[int, Node] = {}
        self._most = most
        self._turn = 0
        self._is_part = is_part
        self._paths: Optional[dict[str, int]] = None if is_part else {}
        self._deep = 0
        self._modules: dict[int, Node] = {}
        self._settings = SettingsKind()
        self.order: list[Node] = []
        """The nodes of the last run."""
        self.suspects: list[Node] = []
        """Those of them that may be otherwise than at the start, in their order."""
        self._last: Optional[LastRun] = None
        """From which the next run may go on; dropped by all that looks at a node otherwise, or settles it."""

    def run(self) -> list[Node]:
        """All nodes that are reachable now, in the order in which they are found; raises StateError for too many."""
        self.claimed = self._claims.now()
        if self._last is not None and self._last.leads_on(self.claimed, self._look):
            return self.order
        self._last = None
        self._turn += 1
        most = self._most or MOST_NODES
        order: list[Node] = []
        waiting = [] if self._is_part else [self._node(_HOOKS, _HOOKS_KIND, HOOK_COUNTER)]
        waiting.append(self._nodes.get(id(self.roots)) or self._node(self.roots, _ROOTS_KIND, ""))
        while waiting or (waiting := self._modules_left()):
            node = waiting.pop()
            if node.seen == self._turn:
                continue
            node.seen = self._turn
            order.append(node)
            if not node.owner:
                self._look(node)
                waiting += node.children
            if len(order) > most:
                raise StateError(too_many(order, most))
        self._nodes = {key: node for key, node in self._nodes.items() if node.seen == self._turn or node.start}
        self.order = self.suspects = order
        if not self._is_part:  # That is made for one look.
            self._last = LastRun(order, self.claimed)
            self.suspects = self._last.suspects
        return order

    def forget(self, node: Node) -> None:
        """Look into this node anew, though nothing has moved in it: other attributes of it are claimed."""
        node.objects, self._last = None, None

    def adopt(self, earlier: Walk) -> None:
        """Take over what an earlier walk, over other roots of this process, knows of the start of the same objects.

        Whatever they have become since then, the next process will begin with what they were.
        """
        claimed = self._claims.now()
        waiting = [thing for name, thing in self.roots.items() if earlier._is_root(name, thing)]
        while waiting:
            known = earlier._nodes.get(id(thing := waiting.pop()))
            if known is None or known.thing is not thing or known.start is None or id(thing) in self._nodes:
                continue
            owner = claimed.objects.get(id(thing), "")
            node = Node(thing, known.kind, known.path, known.prefix, owner, known.is_librarys)
            node.is_own, node.start = known.is_own, known.start
            self._nodes[id(thing)] = node
            if self._paths is not None:
                self._paths[node.path] = 1
            if not owner:
                found = (*known.start.values, *(known.start.labels or ()))
                waiting += [each for each in found if kind_of(each) is not LEAF]

    def _is_root(self, name: str, thing: Any) -> bool:
        return id(thing) in self._nodes and self._nodes[id(thing)].path == name

    def settle(self, order: list[Node]) -> list[Node]:
        """Take what was found as the start of the run, with which all later looks are compared.

        Returns the nodes of which nothing was known before.
        """
        new = [node for node in order if node.start is None]
        for node in new:
            node.start = Start(node)
        self._paths = self._last = None
        return new

    def new(self) -> list[Node]:
        """The nodes that are reachable now and were not there at the start."""
        return [node for node in self.run() if node.start is None]

    def settle_late(self, but: Collection[int]) -> list[Node]:
        """Know what has come since the start by its path, where no other thing has that; returns these nodes.

        `but` are the ids of those that are left as they are.
        """
        known = {node.path for node in self.started()}
        late = []
        for node in self.new():
            if id(node.thing) not in but and node.path not in known:
                known.add(node.path)
                node.start, node.is_late = Start(node), True
                late.append(node)
        self._last = None
        return late

    def keep_whole(self, nodes: Iterable[Node]) -> None:
        """Have these saved whole from now on, also where nothing moves in them."""
        self._last = None
        for node in nodes:
            node.is_late = True

    def node_of(self, thing: Any) -> Node:
        """The node of an object that the last run came by; raises KeyError for any other."""
        return self._nodes[id(thing)]

    def with_id(self, number: int) -> Any:
        """The thing with this `id()` that the last run came by, or None."""
        node = self._nodes.get(number)
        return node.thing if node is not None and self.is_reached(node) else None

    def started(self) -> list[Node]:
        """The nodes that were there at the start."""
        return [node for node in self._nodes.values() if node.start is not None]

    def is_reached(self, node: Node) -> bool:
        """Whether the last run came by the node."""
        return node.seen == self._turn

    def look_again(self, node: Node) -> None:
        """Bring a node up to date that may not be reachable any more."""
        self._last = None
        if not node.owner:
            self._look(node)

    def _look(self, node: Node) -> None:
        """Bring a node up to date; cheap where nothing has moved in it."""
        try:
            objects, detail = node.kind.read(node.thing, self.claimed)
            if node.objects is not None and _are(objects, node.objects):
                if detail == node.detail:
                    return
            else:
                node.moves = node.moves or node.objects is not None
            node.problem = ""
            labels, values = node.kind.expand(node.thing, objects, self.claimed)
        except Problem as problem:
            node.problem = str(problem)
        except Exception as error:  # whatever an object of a library raises where it cannot be read
            node.problem = f"{node.kind.told(node.thing)} that cannot be read ({type(error).__name__}: {error})"
        if node.problem:
            node.objects, node.children = None, []
            return
        is_same = node.objects is not None and _are(values, node.values) and _are(labels or (), node.labels or ())
        node.objects, node.detail = objects, detail
        if not is_same:  # Else what has moved is derived, or another owner's.
            node.labels, node.values = labels, values
            node.children = self._children(node)

    def _children(self, node: Node) -> list[Node]:
        labels: Any = node.labels if node.labels is not None else range(len(node.values))
        found = [(value, label) for value, label in zip(node.values, labels) if kind_of(value) is not LEAF]
        found += [
            (label, label) for label in node.labels or () if type(label) is not str and kind_of(label) is not LEAF
        ]
        if isinstance(node.kind, BulkKind) or (self._is_bulk(node) and len(found) > _BULK):
            node.kind = node.kind if isinstance(node.kind, BulkKind) else BulkKind(node.kind)
            return []
        children = [self._child(node, value, label) for value, label in found]
        children += [self._node(cls, CLASS, f"<{cls.__qualname__}>") for cls in self._classes_of(node)]
        children.reverse()  # so that the first one is looked at first
        return children

    def _is_bulk(self, node: Node) -> bool:
        return self._paths is not None and not node.is_own and not isinstance(node.kind, (ObjectKind, RootsKind))

    def _child(self, parent: Node, value: Any, label: Any) -> Node:
        known = self._nodes.get(id(value))
        if known is not None:
            return known
        path = f"{parent.prefix}.{label}" if parent.is_own else parent.kind.edge(parent.prefix, label)
        if len(path) > _MOST_LETTERS:
            self._deep += 1
            path = f"{path[: _MOST_LETTERS // 2]}...{self._deep}"
        is_own = type(label) is str and is_own_container(type(parent.thing), label)
        prefix = parent.prefix if is_own else path
        if type(value) is types.CellType:  # What it holds is called by the variable's name.
            path = f"{path} (the variable)"
        kind = kind_of(value)
        if isinstance(parent.kind, ModuleKind) and (kind is OPAQUE or is_another_librarys(module_of(type(value)))):
            kind = DATA if kind.standing != TOLD else kind  # Code may only call it, such as a compiled function.
        node = self._node(value, kind, path, prefix, parent)
        node.is_own = is_own
        return node

    def _node(
        self, thing: Any, kind: Kind, path: str, prefix: Optional[str] = None, parent: Optional[Node] = None
    ) -> Node:
        node = self._nodes.get(id(thing))
        if node is None:
            prefix = path if prefix is None else prefix
            if self._paths is not None:  # By its path the next process knows it again.
                count = self._paths[path] = self._paths.get(path, 0) + 1
                path = f"{path}~{count}" if count > 1 else path
            top = top_level(thing if is_a(thing, type) else type(thing))
            is_librarys = parent is not None and parent.is_librarys if top in _BUILT_IN else top == "paddle"
            owner = self.claimed.objects.get(id(thing), "")
            node = self._nodes[id(thing)] = Node(thing, kind, path, prefix, owner, is_librarys)
            if type(thing) is types.FunctionType or is_a(thing, type):
                self._learn_variables(thing)
        return node

    def _modules_left(self) -> list[Node]:
        """The modules that code of the run reaches by name, and the process, after all else; they may lead to more."""
        if self._is_part:
            return []
        nodes = [*self._modules.values(), self._node(SETTINGS, self._settings, SETTINGS_PATH)]
        for node in nodes:
            if node.seen == self._turn:
                self._look(node)
        unseen = [child for node in nodes for child in node.children if child.seen != self._turn]
        return [*(node for node in nodes if node.seen != self._turn), *unseen]

    def _learn_variables(self, thing: Any) -> None:
        if self._paths is None:
            return  # Only what code was known to change at the start could be put back by the next process.
        for module, assigned, used, environment in variables_of(thing):
            self._settings.add(environment)
            node = self._node(module, ModuleKind(), f"<module {module.__name__}>")
            node = self._modules.setdefault(id(module), node)
            node.kind.add(assigned, used)  # type: ignore[attr-defined]

    def _classes_of(self, node: Node) -> list[type]:
        """The classes of the user's that an object belongs to, and those it refers to: they may hold something."""
        if self._is_part or node.is_librarys:
            return []
        of = [type(node.thing)] if isinstance(node.kind, ObjectKind) else []
        of += [value if is_a(value, type) else type(value) for value in node.values if is_a(value, (type, enum.Enum))]
        return [base for cls in of for base in cls.__mro__ if is_users(module_of(base))]


def _are(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


_BUILT_IN = ("builtins", "collections")
_ROOTS_KIND, _HOOKS_KIND = RootsKind(), ClassKind(frozenset({"next_hook_id"}))
