"""What leads to other things without being a container: weak references and containers, views, context variables."""

from __future__ import annotations

import contextvars
import gc
import threading
import types
import weakref
from collections.abc import Hashable, Sequence
from typing import Any, Optional

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.container_kinds import DictKind, SetKind
from paddle_resume.found_state.kind import DERIVED, TOLD, Kind
from paddle_resume.found_state.problem import Problem

_UNSET = type("_Unset", (), {})()


class ContextVariableKind(Kind):
    """A `contextvars.ContextVar`, by the value that it has in the thread that trains."""

    tag = "context variable"
    types = (contextvars.ContextVar,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [thing.get(_UNSET)], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        return None, [] if objects[0] is _UNSET else objects

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.get()"

    def new(self, cls: type, held: Any) -> Any:
        raise Problem("a context variable is the program's")

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        if not values and thing is not None and thing.get(_UNSET) is not _UNSET:
            return "it had no value and has one; start the program anew"  # Nothing takes a value away again.
        return "" if labels is None and len(values) < 2 else "a context variable has one value"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        for value in values:
            thing.set(value)


class ThreadLocalKind(DictKind):
    """A `threading.local`, by what it holds for the thread that trains."""

    tag = "thread local"
    types = (threading.local,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        held = _inside(thing)
        return [*held, *held.values()], None

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.{label}"

    def new(self, cls: type, held: Any) -> Any:
        return threading.local()

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        inside = _inside(thing)
        inside.clear()
        inside.update(zip(labels or (), values))

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        names = all(type(label) is str for label in labels or ())
        return super().refuses(labels, values) if names else "an attribute has a name"


def _inside(thing: Any) -> dict[str, Any]:
    return threading.local.__getattribute__(thing, "__dict__")


class WeakReferenceKind(Kind):
    """A weak reference, by what it refers to; nothing if that is gone."""

    tag = "weak reference"
    types = (weakref.ReferenceType,)
    is_rewritten = False

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        found = thing()
        return [] if found is None else [found], None

    def edge(self, path: str, label: Any) -> str:
        return f"{path}()"

    def save(self, thing: Any, sink: Any, path: str, claimed: Claimed) -> Any:
        """Raises Problem for a reference that calls somebody when the thing goes."""
        if thing.__callback__ is not None:
            raise Problem("a weak reference with a callback")
        return None

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        if len(values) > 1:
            raise Problem("a weak reference leads to one thing")
        return weakref.ref(values[0] if values else _Gone())


class _Gone:
    """What a dead reference leads to."""


class WeakKeysKind(DictKind):
    """A `WeakKeyDictionary`."""

    tag = "WeakKeyDictionary"
    types: tuple[Any, ...] = (weakref.WeakKeyDictionary,)
    base: Any = weakref.WeakKeyDictionary

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        items = [*self.base.items(thing)]
        return [*(key for key, _ in items), *(value for _, value in items)], None

    def new(self, cls: type, held: Any) -> Any:
        return cls()

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        return super().refuses(labels, values) or _not_weakly(self._held_weakly(labels or (), values))

    def _held_weakly(self, labels: Sequence[Any], values: Sequence[Any]) -> Sequence[Any]:
        return labels


class WeakValuesKind(WeakKeysKind):
    """A `WeakValueDictionary`; what it refers to is put back only where something else refers to it as well."""

    tag = "WeakValueDictionary"
    types = (weakref.WeakValueDictionary,)
    base = weakref.WeakValueDictionary

    def _held_weakly(self, labels: Sequence[Any], values: Sequence[Any]) -> Sequence[Any]:
        return values


class WeakSetKind(SetKind):
    tag = "WeakSet"
    types = (weakref.WeakSet,)
    base = weakref.WeakSet

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        return super().refuses(labels, values) or _not_weakly(values)

    def new(self, cls: type, held: Any) -> Any:
        return cls()


def _not_weakly(things: Sequence[Any]) -> str:
    """Why these cannot be held weakly, or an empty text."""
    for each in things:
        if not type(each).__weakrefoffset__:
            return f"a {type(each).__name__} cannot be held weakly"
    return ""


class ViewKind(Kind):
    """What shows the content of another thing, which is found through it and put back where it lives."""

    tag = "view"
    types: tuple[Any, ...] = (memoryview, types.MappingProxyType, type({}.keys()), type({}.values()), type({}.items()))
    standing = DERIVED

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return ([thing.obj] if type(thing) is memoryview else gc.get_referents(thing)[:1]), None

    def edge(self, path: str, label: Any) -> str:
        return path


class ProxyKind(Kind):
    """A weak proxy, which cannot be told from what it stands for."""

    tag = "weak proxy"
    types: tuple[Any, ...] = weakref.ProxyTypes
    standing = TOLD

    def told(self, thing: Any) -> str:
        return "a weak proxy"


KINDS: tuple[Kind, ...] = (
    *(ContextVariableKind(), WeakReferenceKind(), WeakKeysKind(), WeakValuesKind(), WeakSetKind()),
    *(ViewKind(), ProxyKind()),
)
"""Those that are known by their types; a `threading.local` is one by its class's base."""
