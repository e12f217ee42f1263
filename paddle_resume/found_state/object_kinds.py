"""Objects of classes written in Python, by their `__dict__` and `__slots__`, and those classes themselves."""

from __future__ import annotations

import enum
import types
from collections.abc import Hashable, Sequence
from typing import Any, Callable, Optional

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.function_kinds import CacheKind, DescriptorKind
from paddle_resume.found_state.kind import DERIVED, NamedKind, is_a
from paddle_resume.found_state.paddle_rules import derived_attributes
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.uncaptured import is_users, module_of

_UNSET = type("_Unset", (), {})()
METHODS = (types.FunctionType, *DescriptorKind.types, *CacheKind.types)


def dict_reader(cls: type) -> Optional[Callable[[Any], dict]]:
    """What gives the `__dict__` of objects of `cls` without asking the class, or None if they have none."""
    for base in cls.__mro__:
        found = vars(base).get("__dict__")
        if found is not None:
            kinds = (types.GetSetDescriptorType, types.MemberDescriptorType)
            return found.__get__ if is_a(found, kinds) else None
    return None


def slots_of(cls: type) -> dict[str, Any]:
    """The descriptors of the `__slots__` of a class and its bases, by attribute name."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if "__slots__" in vars(base):
            members = {k: v for k, v in vars(base).items() if is_a(v, types.MemberDescriptorType)}
            found.update(members)
    return found


def has_hidden_storage(cls: type) -> bool:
    """Whether objects of `cls` keep something besides `__dict__` and `__slots__`: those of most classes written in C.

    It is how `copyreg` and `object.__reduce_ex__` tell what they can copy.
    """
    slots = sum(
        is_a(value, types.MemberDescriptorType)
        for base in cls.__mro__
        if "__slots__" in vars(base)
        for value in vars(base).values()
    )
    pointers = (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0) + slots
    return cls.__basicsize__ > object.__basicsize__ + 8 * pointers or cls.__itemsize__ != 0


class ObjectKind(NamedKind):
    """The objects of one class."""

    tag = "object"

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.dict_of = dict_reader(cls)
        self._slots = slots_of(cls)
        self.has_only_dict = self.dict_of is not None and not self._slots
        self._getters = [slot.__get__ for slot in self._slots.values()]
        self._derived = derived_attributes(cls)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        held = self.dict_of(thing) if self.dict_of is not None else {}
        objects = [*held, *held.values()]
        for get in self._getters:
            try:
                objects.append(get(thing))
            except AttributeError:
                objects.append(_UNSET)
        if type(thing) is not self.cls:
            raise Problem(
                f"a {self.cls.__qualname__} that became a {type(thing).__qualname__} in the course of the run"
            )
        return objects, None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        count = (len(objects) - len(self._slots)) // 2
        names = [*objects[:count], *self._slots]
        if not all(type(name) is str for name in names):
            raise Problem("an object whose __dict__ has keys that are no names")
        taken = claimed.attributes(thing)
        kept = [
            (name, value)
            for name, value in zip(names, objects[count:])
            if value is not _UNSET and name not in self._derived and name not in taken
        ]
        return [name for name, _ in kept], [value for _, value in kept]

    def new(self, cls: type, held: Any) -> Any:
        for base in cls.__mro__:  # past a `__new__` of the class's own, as `copyreg` does it
            make: Any = vars(base).get("__new__")
            if is_a(make, types.BuiltinFunctionType):
                return make(cls)
        return object.__new__(cls)

    def skipped(self, thing: Any) -> list[str]:
        """The attributes that are left out because they follow from the program."""
        held = self.dict_of(thing) if self.dict_of is not None else {}
        return [name for name in (*held, *self._slots) if name in self._derived]

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        for name in labels or ():
            if type(name) is not str:
                return "an attribute has a name"
            if self.dict_of is None and name not in self._slots:
                return f"its class has no room for an attribute {name[:80]!r}"
        return "" if len(labels or ()) == len(values) else "each attribute has one value"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        """Set these attributes, past `__setattr__` and properties."""
        attributes = self.dict_of(thing) if self.dict_of is not None else {}
        for name, value in zip(labels or (), values):
            if name in self._slots:
                self._slots[name].__set__(thing, value)
            else:
                attributes[name] = value

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        for name in labels:
            if name in self._slots:
                self._slots[name].__delete__(thing)
            elif self.dict_of is not None:
                self.dict_of(thing).pop(name, None)

    def is_of(self, cls: type) -> bool:
        return not has_hidden_storage(cls)


class WrapperKind(ObjectKind):
    """The objects of one of Paddle's own classes that may hold somebody's optimizer, as `fleet` does: only that.

    Args:
        cls: the class.
        is_part: tells which of the attributes' values are looked at.
    """

    tag = "wrapper"
    standing = DERIVED

    def __init__(self, cls: type, is_part: Callable[[Any], bool]) -> None:
        super().__init__(cls)
        self._is_part = is_part

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        held = self.dict_of(thing) if self.dict_of is not None else {}
        parts = {name: value for name, value in held.items() if self._is_part(value)}
        return [*parts, *parts.values()], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        return NamedKind.expand(self, thing, objects, claimed)

    def told(self, thing: Any) -> str:
        return "a part of Paddle"


class ClassKind(NamedKind):
    """What a class of the user's holds for all its objects: counters and the like, and its methods."""

    tag = "class"

    def __init__(self, only: Optional[frozenset[str]] = None) -> None:
        self._only = only

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        held = vars(thing)
        if issubclass(thing, enum.Enum):
            held = {**{name: value for name, value in held.items() if _is_given(name)}, **_given_to_members(thing)}
        return [*held, *held.values()], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        count = len(objects) // 2
        derived = derived_attributes(thing)
        kept = [
            (name, value)
            for name, value in zip(objects[:count], objects[count:])
            if self._is_state(name, value) and name not in derived
        ]
        return [name for name, _ in kept], [value for _, value in kept]

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        members = _members_of(thing)
        for name in labels or ():
            if type(name) is str and members and not _is_given(name):
                return f"{name[:80]!r} is a part of an enumeration"
            if type(name) is str and "." in name:
                member, _, attribute = name.partition(".")
                if member not in members or not _is_given(attribute):
                    return f"{name[:80]!r} is nothing that a member of an enumeration has been given"
                continue
            if type(name) is not str or not (self._is_state(name, None) or self._is_method(thing, name)):
                return f"{str(name)[:80]!r} is no plain attribute of a class"
        return "" if len(labels or ()) == len(values) else "each attribute has one value"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        for name, value in zip(labels or (), values):
            owner, attribute = _owner_of(thing, name)
            if owner is not thing:
                vars(owner)[attribute] = value
            elif vars(thing).get(name, _UNSET) is not value:
                type.__setattr__(thing, name, value)

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        for name in labels:
            owner, attribute = _owner_of(thing, name)
            vars(owner).pop(attribute) if owner is not thing else type.__delattr__(thing, name)

    def new(self, cls: type, held: Any) -> Any:
        return cls

    def is_of(self, cls: type) -> bool:
        return is_users(module_of(cls))

    def _is_method(self, thing: Any, name: str) -> bool:
        return is_a(thing, type) and type(vars(thing).get(name)) in METHODS

    def _is_state(self, name: str, value: Any) -> bool:
        if self._only is not None:
            return name in self._only
        if type(value) in METHODS:
            return True
        if name.startswith("__") or name in ("_abc_impl", "derived_attributes") or is_a(value, types.ModuleType):
            return False
        # Slots and the like answer to access, and are the program's; but for objects of the user's that do so.
        of = value if is_a(value, type) else type(value) if hasattr(type(value), "__get__") else None
        return of is None or is_users(module_of(of))


def _members_of(cls: Any) -> dict[str, Any]:
    return vars(cls)["_member_map_"] if is_a(cls, type) and issubclass(cls, enum.Enum) else {}


def _given_to_members(cls: Any) -> dict[str, Any]:
    """What a program has given to the members of an enumeration, besides their values: by `MEMBER.attribute`."""
    return {
        f"{name}.{attribute}": value
        for name, member in _members_of(cls).items()
        for attribute, value in getattr(member, "__dict__", {}).items()
        if _is_given(attribute)
    }


def _is_given(attribute: str) -> bool:
    return attribute != "" and not (attribute.startswith("_") and attribute.endswith("_"))


def _owner_of(cls: Any, label: str) -> tuple[Any, str]:
    """The member of an enumeration, or the class itself, whose attribute has this label."""
    name, dot, attribute = label.partition(".")
    return (_members_of(cls)[name], attribute) if dot else (cls, label)
