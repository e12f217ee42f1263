"""What was found in a run, each thing in one class and by its path, and the one line that a person reads of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.dispatch import LEAF, OWNER, kind_of
from paddle_resume.found_state.kind import CAPTURED, DERIVED, REFUSED, TOLD
from paddle_resume.found_state.node import BulkKind, Node, RootsKind
from paddle_resume.found_state.object_kinds import ObjectKind
from paddle_resume.found_state.process_settings import PATH as SETTINGS_PATH
from paddle_resume.found_state.refusals import Refusals

_SHOWN = 6
_BY_NAME = "classes and modules"
_HOLDER = re.compile(r"[^.\[]+(?:\[[^\]]*\])?")


class Entry(NamedTuple):
    """One thing that was found. `owner` is who saves it, if that is not the walker itself."""

    path: str
    standing: str
    what: str
    owner: str = ""


class Survey:
    """One look at a run."""

    def __init__(self, order: Sequence[Node], claimed: Claimed) -> None:
        self.nodes = [node for node in order if not isinstance(node.kind, RootsKind)]
        self._roots = [node for node in order if isinstance(node.kind, RootsKind)]
        self._claimed = claimed

    def entries(self) -> Iterator[Entry]:
        """Everything: objects and, of those with attributes, each attribute that is a plain value or left out."""
        for node in self.nodes:
            yield Entry(node.path, node.standing, node.problem or node.kind.told(node.thing), self._owner_of(node))
            yield from self._attributes(node)
        for root in self._roots:
            yield from self._attributes(root)

    def of(self, standing: str) -> list[Entry]:
        """The entries of one class: `captured`, `derived`, `told` or `refused`."""
        return [entry for entry in self.entries() if entry.standing == standing]

    @property
    def refused(self) -> list[Entry]:
        return [
            Entry(node.path, REFUSED, node.problem or node.kind.told(node.thing))
            for node in self.nodes
            if node.standing == REFUSED and not node.owner
        ]

    @property
    def told(self) -> list[Entry]:
        """Handles and other libraries' data, and containers of very many objects, which are not looked into."""
        found = [node for node in self.nodes if node.standing == TOLD or isinstance(node.kind, BulkKind)]
        return [Entry(node.path, TOLD, _told(node)) for node in found if not node.owner]

    def require_capturable(self) -> None:
        """Raises StateError naming each thing that bears state which cannot be saved."""
        refusals = Refusals()
        for entry in self.refused:
            refusals.add(entry.path, entry.what)
        refusals.require_none()

    def told_line(self) -> str:
        """One line for a person: what is not saved, because it is no state of the run; empty if there is nothing."""
        told = [f"{entry.path} ({entry.what})" for entry in self.told]
        return f"Not saved, since it is no state of the run: {_listed(told)}." if told else ""

    def summary(self) -> str:
        """One line: how much is saved and of what, and what is not; an empty text if there is nothing to say."""
        counts: dict[str, int] = {}
        for node in (*self._roots, *self.nodes):
            if not (node.owner or node.is_librarys or node.path == SETTINGS_PATH) and node.standing == CAPTURED:
                count = 1 if node.kind is OWNER else sum(kind_of(value) is LEAF for value in node.values)
                count += 1 if node.detail is not None and not node.values else 0
                for holder in _HOLDER.findall(node.path)[:1] if count else ():
                    holder = _BY_NAME if holder.startswith("<") else holder
                    counts[holder] = counts.get(holder, 0) + count
        parts = []
        if counts:
            parts.append(f"captured {sum(counts.values()):,} values of {_listed(list(counts))}")
        if self.told:
            parts.append(f"not state: {_listed([f'{entry.path} ({entry.what})' for entry in self.told])}")
        return "; ".join(parts)

    def _attributes(self, node: Node) -> Iterator[Entry]:
        if node.owner or node.labels is None or not isinstance(node.kind, (ObjectKind, RootsKind)):
            return
        for name, value in zip(node.labels, node.values):
            if kind_of(value) is LEAF:
                yield Entry(node.kind.edge(node.prefix, name), CAPTURED, type(value).__qualname__)
        if isinstance(node.kind, ObjectKind):
            for name in node.kind.skipped(node.thing):
                yield Entry(node.kind.edge(node.prefix, name), DERIVED, "it follows from the program")
        for name, owner in self._claimed.attributes(node.thing).items():
            yield Entry(node.kind.edge(node.prefix, name), CAPTURED, "an attribute", owner)

    def _owner_of(self, node: Node) -> str:
        return node.owner or self._claimed.tensors.get(id(node.thing), "")


def _told(node: Node) -> str:
    if isinstance(node.kind, BulkKind):
        return f"{len(node.values):,} objects, of which only the order is saved"
    return node.kind.told(node.thing)


def _listed(parts: list[str]) -> str:
    more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more
