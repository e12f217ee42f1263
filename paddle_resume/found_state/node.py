"""What a walk has found: one node for each object, and what it held at the start of the run."""

from __future__ import annotations

from typing import Any, Optional

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.container_kinds import DictKind
from paddle_resume.found_state.kind import CAPTURED, REFUSED, Kind


class Node:
    """One object that was found. `path` is the first way to it."""

    __slots__ = (
        *(
            "children",
            "detail",
            "is_librarys",
            "is_own",
            "kind",
            "labels",
            "objects",
            "owner",
            "path",
            "prefix",
            "problem",
        ),
        *("is_late", "moves", "seen", "start", "thing", "values"),
    )

    def __init__(self, thing: Any, kind: Kind, path: str, prefix: str, owner: str, is_librarys: bool) -> None:
        self.thing = thing
        self.kind = kind
        self.path = path
        self.prefix = prefix
        """What the paths of its values begin with."""
        self.owner = owner
        """Who claims it, or an empty text."""
        self.is_librarys = is_librarys
        """Whether it is an object of Paddle's, or a container in one."""
        self.is_own = False
        """Whether it is one of the containers of a Layer's own, whose items are called as its attributes."""
        self.problem = ""
        """Why it cannot be looked into, or an empty text."""
        self.objects: Optional[list[Any]] = None
        self.detail: Any = None
        self.labels: Optional[list[Any]] = None
        self.values: list[Any] = []
        self.children: list[Node] = []
        self.start: Optional[Start] = None
        self.is_late = False
        """Whether the program makes it as the run begins, from what that holds by then: it is always saved whole."""
        self.moves = False
        """Whether it was once seen to refer to other things than in the look before."""
        self.seen = 0

    @property
    def standing(self) -> str:
        return REFUSED if self.problem else CAPTURED if self.owner else self.kind.standing

    @property
    def is_as_at_start(self) -> bool:
        """Whether it was there at the start, and has referred to the same things since then."""
        start = self.start
        return start is not None and not self.is_late and self.values is start.values and self.detail == start.detail


NOT_KEPT = type("_NotKept", (), {})()


class Start:
    """What an object held when it was first looked at; `saved` is a copy of what it holds besides its values."""

    __slots__ = ("detail", "labels", "saved", "values")

    def __init__(self, node: Node) -> None:
        self.labels = node.labels
        self.values = node.values
        self.detail = node.detail
        self.saved: Any = NOT_KEPT


class BulkKind(Kind):
    """A container of very many objects, such as the samples of a dataset: which ones they are, and in which order."""

    tag = "bulk"

    def __init__(self, container: Kind) -> None:
        self.container = container

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Any]:
        return self.container.read(thing, claimed)

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        return self.container.expand(thing, objects, claimed)

    def write(self, thing: Any, labels: Any, values: list[Any], held: Any) -> None:
        self.container.write(thing, labels, values, held)


class RootsKind(DictKind):
    """The roots, by name."""

    tag = "roots"
    types = ()

    def edge(self, path: str, label: Any) -> str:
        return str(label)
