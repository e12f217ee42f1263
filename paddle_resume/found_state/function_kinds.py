"""Functions and what they carry along: closures, default arguments, the objects of bound methods, partials."""

from __future__ import annotations

import functools
import types
from collections.abc import Hashable, Sequence
from typing import Any, Optional

import xxhash

from paddle_resume.found_state.claims import NOTHING_CLAIMED, Claimed
from paddle_resume.found_state.kind import DERIVED, TOLD, Kind, is_a
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

_DEFAULT, _KEYWORD, _ATTRIBUTE = "default", "keyword", "attribute"
_EMPTY = type("_Empty", (), {})()


class FunctionKind(Kind):
    """A function: the program's own, while what its closure and its default arguments hold may move."""

    tag = "function"
    types = (types.FunctionType,)
    standing = DERIVED

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        keywords, attributes = thing.__kwdefaults__ or {}, thing.__dict__
        cells, defaults = thing.__closure__ or (), thing.__defaults__ or ()
        return [*cells, *defaults, *keywords, *keywords.values(), *attributes, *attributes.values()], (
            len(defaults),
            len(keywords),
            len(attributes),
        )

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        code, cells = thing.__code__, thing.__closure__ or ()
        defaults, keywords = thing.__defaults__ or (), thing.__kwdefaults__ or {}
        named = code.co_varnames[: code.co_argcount][len(code.co_varnames[: code.co_argcount]) - len(defaults) :]
        labels: list[Any] = [("closure", name) for name in code.co_freevars[: len(cells)]]
        labels += [(_DEFAULT, name) for name in named]
        labels += [(_KEYWORD, name) for name in keywords]
        attributes = {name: value for name, value in thing.__dict__.items() if name != "__wrapped__"}
        labels += [(_ATTRIBUTE, name) for name in attributes]
        return labels, [*cells, *defaults, *keywords.values(), *attributes.values()]

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.{label[1]}"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        found: dict[str, dict[str, Any]] = {_DEFAULT: {}, _KEYWORD: {}, _ATTRIBUTE: {}}
        for (part, name), value in zip(labels or (), values):
            if part in found:
                found[part][name] = value
        if thing.__defaults__:
            thing.__defaults__ = tuple(found[_DEFAULT].values())
        if thing.__kwdefaults__:
            thing.__kwdefaults__.update(found[_KEYWORD])
        for name in [name for name in thing.__dict__ if name not in found[_ATTRIBUTE] and name != "__wrapped__"]:
            del thing.__dict__[name]
        thing.__dict__.update(found[_ATTRIBUTE])

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        for label in labels or ():
            if type(label) is not tuple or len(label) != 2:
                return "what a function carries along has two names"
        now, _ = self.expand(thing, self.read(thing, NOTHING_CLAIMED)[0], NOTHING_CLAIMED)
        fixed = [[label for label in side or () if label[0] != _ATTRIBUTE] for side in (labels, now)]
        return "" if fixed[0] == fixed[1] else "it has other variables and arguments"

    def told(self, thing: Any) -> str:
        return f"the function {thing.__qualname__}"


def code_key(function: types.FunctionType) -> tuple[str, str, str]:
    """What makes two functions the same piece of program, though one was made anew."""
    digest = xxhash.xxh3_64_hexdigest(_code_text(function.__code__).encode())
    return function.__module__ or "", function.__qualname__, digest


def _code_text(code: types.CodeType) -> str:
    consts = [
        _code_text(const)
        if type(const) is types.CodeType
        else repr(sorted(const, key=repr) if type(const) is frozenset else const)
        for const in code.co_consts
    ]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, consts))


class CellKind(Kind):
    """A variable that functions share."""

    tag = "variable"
    types = (types.CellType,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        try:
            return [thing.cell_contents], None
        except ValueError:  # not assigned yet
            return [_EMPTY], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        return None, [] if objects[0] is _EMPTY else objects

    def edge(self, path: str, label: Any) -> str:
        return path

    def new(self, cls: type, held: Any) -> Any:
        return types.CellType()

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        return "" if labels is None and len(values) < 2 else "a variable has one value"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        if values:
            thing.cell_contents = values[0]
        else:
            del thing.cell_contents


class DescriptorKind(Kind):
    """What stands in a class around functions, such as a property; the program's, as a function is."""

    tag = "descriptor"
    types: tuple[Any, ...] = (staticmethod, classmethod, property, functools.cached_property, functools.partialmethod)
    standing = DERIVED

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [*functions_in(thing)], None

    def edge(self, path: str, label: Any) -> str:
        return path


class CacheKind(DescriptorKind):
    """A function with a cache of functools, which is taken to hold what the function would give again."""

    tag = "cache"
    types = (type(functools.lru_cache(lambda: None)),)
    standing = TOLD

    def told(self, thing: Any) -> str:
        return "a cache, taken to hold what its function gives again"


def functions_in(value: Any) -> tuple[Any, ...]:
    """The functions of an attribute of a class that is one, or stands around some."""
    if type(value) is property:
        return tuple(part for part in (value.fget, value.fset, value.fdel) if part is not None)
    if type(value) in (functools.cached_property, functools.partialmethod):
        return (value.func,)
    if type(value) in (staticmethod, classmethod):
        return (value.__func__,)
    return (value.__wrapped__,) if type(value) in CacheKind.types else (value,)


class MethodKind(Kind):
    """A method bound to an object, also one of a class written in C."""

    tag = "method"
    types = (types.MethodType, types.BuiltinMethodType)
    is_rewritten = False

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [thing.__self__], thing.__name__

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.__self__"

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        """Raises Problem for a method that cannot be found again by its name."""
        found = _method(thing.__self__, thing.__name__)
        same = found is thing.__func__ if type(thing) is types.MethodType else found is not None
        if not same:
            raise Problem(f"the method {thing.__name__} is none of the class {type(thing.__self__).__qualname__}")
        return thing.__name__

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not str:
            raise Problem("a method comes with its name")
        return saved

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        if len(values) != 1 or (found := _method(values[0], held)) is None:
            raise Problem(f"there is no method {held[:80]!r}")
        return found.__get__(values[0], type(values[0]))

    def told(self, thing: Any) -> str:
        return f"the method {thing.__name__}"


class PartialKind(Kind):
    """A `functools.partial`: its function, then its arguments.

    It is given others in place, since those who call it, such as the trainer its loss, hold it themselves.
    """

    tag = "partial"
    types = (functools.partial,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [thing.func, *thing.args, *thing.keywords, *thing.keywords.values()], len(thing.args)

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        labels = ["func", *range(len(thing.args)), *(str(name) for name in thing.keywords)]
        return labels, [thing.func, *thing.args, *thing.keywords.values()]

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.args[{label}]" if type(label) is int else f"{path}.{label}"

    def new(self, cls: type, held: Any) -> Any:
        return functools.partial(_nothing)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        named = list(zip(labels or (), values))[1:]
        arguments = tuple(value for name, value in named if type(name) is int)
        keywords = {name: value for name, value in named if type(name) is str}
        thing.__setstate__((values[0], arguments, keywords, vars(thing)))

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        if not labels or len(labels) != len(values):
            return "a partial has a name for each argument"
        return "" if labels[0] == "func" and callable(values[0]) else "a partial begins with its function"


def _nothing() -> None:
    """Stands in a partial that is not filled yet."""


def _method(owner: Any, name: str) -> Any:
    """The function of this name in the classes of `owner`, looked up without asking it."""
    for base in type(owner).__mro__:
        if name in vars(base):
            found = vars(base)[name]
            kinds = (types.FunctionType, types.MethodDescriptorType, types.BuiltinMethodType)
            return found if is_a(found, kinds[:2]) else None
    return None
