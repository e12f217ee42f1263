"""Module variables that the user's code changes: those it assigns with `global`, and containers it uses by name."""

from __future__ import annotations

import dis
import functools
import random
import sys
import types
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.container_kinds import CONTAINERS
from paddle_resume.found_state.kind import Kind, is_a
from paddle_resume.found_state.uncaptured import is_users

_DATA: tuple[type, ...] = (
    *(cls for kind in CONTAINERS for cls in kind.types),
    *(bytearray, np.ndarray, paddle.Tensor, random.Random, np.random.Generator, np.random.RandomState),
)
_PROGRAM = (types.FunctionType, types.ModuleType, type)


class ModuleKind(Kind):
    """A module of the user's, by those of its variables that code of the run may change."""

    tag = "module"

    def __init__(self) -> None:
        self._assigned: set[str] = set()
        self._used: set[str] = set()

    def add(self, assigned: frozenset[str], used: frozenset[str]) -> None:
        """Look at these variables from now on: at those that are only used if they can be changed in place."""
        self._assigned |= assigned
        self._used |= used

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        held = vars(thing)
        names = [name for name in held if name in self._assigned or (name in self._used and is_a(held[name], _DATA))]
        names = [name for name in names if not is_a(held[name], _PROGRAM)]
        return [*names, *(held[name] for name in names)], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        count = len(objects) // 2
        return objects[:count], objects[count:]

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.{label}"

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        for name in labels or ():
            if type(name) is not str or name not in self._assigned | self._used:
                return f"no code of the run changes {str(name)[:80]!r} of this module"
        return "" if len(labels or ()) == len(values) else "each variable has one value"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        vars(thing).update(zip(labels or (), values))

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        for name in labels:
            vars(thing).pop(name, None)

    def told(self, thing: Any) -> str:
        return "variables of a module"


def variables_of(thing: Any) -> Optional[tuple[types.ModuleType, frozenset[str], frozenset[str]]]:
    """The module of a function or class of the user's, with the variables of it that its code assigns, and uses."""
    if type(thing) is types.FunctionType:
        functions = [thing]
    elif is_a(thing, type):
        functions = list(_functions_of(thing))
    else:
        return None
    module = thing.__module__
    if not isinstance(module, str) or not is_users(module):
        return None
    held = vars(sys.modules[module])
    waiting = [function for function in functions if function.__globals__ is held]
    seen: set[types.FunctionType] = set(waiting)
    assigned: set[str] = set()
    used: set[str] = set()
    while waiting:  # also through the functions of the module that these call
        names = _names_in(waiting.pop().__code__)
        assigned |= names[0]
        used |= names[1]
        called = [held.get(name) for name in names[1]]
        new = [each for each in called if type(each) is types.FunctionType and each.__globals__ is held]
        waiting += [each for each in new if each not in seen]
        seen.update(new)
    return (sys.modules[module], frozenset(assigned), frozenset(used)) if seen else None


def _functions_of(cls: type) -> Iterator[types.FunctionType]:
    for value in vars(cls).values():
        parts = (value.fget, value.fset) if type(value) is property else (getattr(value, "__func__", value),)
        for part in parts if type(value) in (property, staticmethod, classmethod) else (value,):
            if type(part) is types.FunctionType:
                yield part


@functools.cache
def _names_in(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    assigned, used = set(), set(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            assigned.add(instruction.argval)
    for const in code.co_consts:
        if type(const) is types.CodeType:
            inner = _names_in(const)
            assigned |= inner[0]
            used |= inner[1]
    return frozenset(assigned), frozenset(used)
