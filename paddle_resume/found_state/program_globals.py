"""What code of the run reaches by name: variables, functions and classes of the user's modules, in whichever module."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.dispatch import LEAF, kind_of
from paddle_resume.found_state.function_kinds import functions_in
from paddle_resume.found_state.kind import NamedKind, is_a
from paddle_resume.found_state.uncaptured import HANDLE, INSIDE, PROGRAM, is_taken, is_users, module_of


class ModuleKind(NamedKind):
    """A module of the user's, by those of its variables that code of the run assigns, or uses and could change."""

    tag = "module"

    def __init__(self) -> None:
        self._assigned: set[str] = set()
        self._used: set[str] = set()

    def add(self, assigned: frozenset[str], used: frozenset[str]) -> None:
        """Look at these variables from now on."""
        self._assigned |= assigned
        self._used |= used

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        held = vars(thing)
        used = (name for name in held if name in self._used or name in self._assigned)
        names = [name for name in used if self._is_state(name, held[name], thing.__name__)]
        return [*names, *(held[name] for name in names)], None

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        for name in labels or ():
            if type(name) is not str or name.startswith("__") or name not in self._assigned | self._used:
                return f"no code of the run changes {str(name)[:80]!r} of this module"
        return "" if len(labels or ()) == len(values) else "each variable has one value"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        vars(thing).update(zip(labels or (), values))

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        for name in labels:
            vars(thing).pop(name, None)

    def told(self, thing: Any) -> str:
        return "variables of a module"

    def _is_state(self, name: str, value: Any, module: str) -> bool:
        if name.startswith("__") or is_a(value, types.ModuleType):
            return False
        if is_a(value, (type, types.FunctionType)):
            return _may_change(value, module)
        return name in self._assigned or _may_change(value, module)


def _may_change(value: Any, module: str) -> bool:
    """Whether a variable that code of the run uses, in this module, can come to hold something else in place."""
    kind = kind_of(value)
    if type(value) is types.FunctionType:
        return is_users(value.__module__ or "")
    if is_taken(module):  # A whole suite: of what it has beside functions and data too much is nobody's state.
        return kind.tag.partition(" with ")[0] in _DATA
    if is_a(value, type):
        return is_users(module_of(value))
    if any(module_of(base).startswith(_RUNS) for base in type(value).__mro__):
        return False
    return kind is not LEAF and kind is not HANDLE and kind is not PROGRAM and kind is not INSIDE


class Variables(NamedTuple):
    """Of one module, those variables that some code assigns, and those that it uses."""

    module: types.ModuleType
    assigned: frozenset[str]
    used: frozenset[str]
    environment: frozenset[str]
    """The texts in code that speaks of the environment: names of its variables among them."""


def variables_of(thing: Any) -> list[Variables]:
    """What the code of a function, or of the methods of a class, reaches by name in modules of the user's."""
    functions = [thing] if type(thing) is types.FunctionType else functions_of(thing) if is_a(thing, type) else ()
    found = [each for function in functions for each in _variables_of(function)]
    return found if type(thing) is types.FunctionType or is_users(module_of(thing)) else []


def functions_of(cls: type) -> Iterator[types.FunctionType]:
    """The functions that a class itself has, those of its properties and static methods too."""
    for value in vars(cls).values():
        for part in functions_in(value):
            if type(part) is types.FunctionType:
                yield part


def _variables_of(function: types.FunctionType) -> Iterator[Variables]:
    held = function.__globals__
    name = held.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or not is_users(name) or vars(module) is not held:
        return
    names = _names_in(function.__code__)
    if function.__name__ != "<module>":  # Of the code of a module itself whoever runs it knows the variables.
        yield Variables(module, names.assigned, names.used, names.environment)
    # `state.level += 1` assigns a variable of the module `state`, wherever that was imported.
    package = f"{held.get('__package__')}."
    imported = (sys.modules.get(way + each) for each in names.imported for way in ("", package))
    waiting: list[Any] = [*imported, *(held.get(each) for each in names.used)]
    seen = {id(module)}
    while waiting:
        value = waiting.pop()
        if type(value) is types.ModuleType and id(value) not in seen and is_users(value.__name__):
            seen.add(id(value))
            waiting += [vars(value).get(each) for each in names.used]
            yield Variables(value, names.stored, names.used, names.environment)


class _Names(NamedTuple):
    """The names in a piece of code and in the functions inside it."""

    assigned: frozenset[str]
    used: frozenset[str]
    stored: frozenset[str]
    imported: frozenset[str]
    environment: frozenset[str]


@functools.cache
def _names_in(code: types.CodeType) -> _Names:
    found: dict[str, set[str]] = {name: set() for name in _Names._fields}
    found["used"] |= set(code.co_names)
    for instruction in dis.get_instructions(code):
        where = _INSTRUCTIONS.get(instruction.opname)
        if where is not None:
            found[where].add(instruction.argval)
    for const in code.co_consts:
        if type(const) is types.CodeType:
            for name, inner in zip(found, _names_in(const)):
                found[name] |= inner
    texts = {const for const in code.co_consts if type(const) is str and const.isidentifier()}
    if found["used"] & _BY_TEXT:
        found["assigned"] |= texts
        found["stored"] |= texts
    if found["used"] & _OF_ENVIRONMENT:
        found["environment"] |= texts
    return _Names(*map(frozenset, found.values()))


_INSTRUCTIONS = {
    **dict.fromkeys(("STORE_GLOBAL", "DELETE_GLOBAL"), "assigned"),
    **dict.fromkeys(("STORE_ATTR", "DELETE_ATTR"), "stored"),
    "IMPORT_NAME": "imported",
}
_OF_ENVIRONMENT = {"environ", "getenv", "putenv", "unsetenv"}
_BY_TEXT = {"globals", "setattr", "delattr", "vars", "__dict__"}
"""With these a variable is assigned whose name is a text in the code."""
_DATA = (
    *("list", "dict", "set", "deque", "OrderedDict", "Counter", "defaultdict", "bytes", "array", "tensor"),
    *("random.Random", "np.random.Generator", "np.random.RandomState"),
)
_RUNS = ("paddle_resume.training.trainer", "paddle_resume.training.checkpointer")  # runs themselves
