"""What the walker asks of every kind of object: be read, be told of, be saved, and be put back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Optional

from paddle_resume.found_state.problem import Problem

if TYPE_CHECKING:
    from paddle_resume.found_state.claims import Claimed
    from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

CAPTURED = "captured"
"""Saved and put back, here or by the owner who claims it."""
DERIVED = "derived"
"""Follows from the program: functions, modules, caches, clocks."""
TOLD = "told"
"""A handle on something outside, or another library's data: not saved, and named."""
REFUSED = "refused"
"""Bears state that cannot be saved."""


def is_a(thing: Any, classes: Any) -> bool:
    """As `isinstance`, which asks an object for its `__class__` and so may run code of it."""
    return issubclass(type(thing), classes)


class Beside(str):
    """The name of an attribute that an object has besides its items."""

    __slots__ = ()


class Kind:
    """How objects of one kind are read and put back. What an object refers to are its values, each with a label.

    Reading has no effect on the object, and runs no code of its class: no property, no `__len__`, no `__eq__`.
    """

    tag = ""
    """What a record calls it."""
    types: tuple[type, ...] = ()
    """The classes whose objects are of this kind, and no others of theirs; a record need not name the first one."""
    standing = CAPTURED
    has_names = False
    """Whether its labels are the names of attributes or variables, so that each can be saved by itself."""
    can_move = True
    """Whether anything that `read` gives can ever become another thing."""
    is_rewritten = True
    """Whether an object takes on other content in place; else another one is made, as of a tuple."""

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        """All objects it refers to, and what else it holds in a form that can be compared: the same ones again, and
        nothing has moved in it."""
        return [], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        """The labels and the values among `objects`; labels are None where they count from 0."""
        return None, objects

    def edge(self, path: str, label: Any) -> str:
        """The path of the value that has this label."""
        return f"{path}[{label}]"

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        """What it holds besides its values, for a record."""
        return None

    def check(self, saved: Any, source: ArraySource) -> Any:
        """What `save` gave, made ready for `new`, `build` and `write`; raises Problem if it is not of this kind."""
        if saved is not None:
            raise Problem(f"a {self.tag} holds nothing besides its items, and the record has more")
        return None

    def fits(self, thing: Any, held: Any) -> str:
        """Why `held` cannot be put into this live object, or an empty text."""
        return ""

    def new(self, cls: type, held: Any) -> Any:
        """An empty object, which `write` fills."""
        return object.__new__(cls)

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        """An object that takes no other content later."""
        raise Problem(f"a {self.tag} cannot be made from a record")

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        """Give a live object this content."""

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        """Take away attributes; what else there is stays, such as those that others claim."""

    def finish(self, thing: Any, held: Any) -> None:
        """What is left to do for an object from `build` when all else holds its content."""

    def told(self, thing: Any) -> str:
        """What a person should read of it, such as `a file`."""
        return f"a {type(thing).__qualname__}"

    def is_of(self, cls: type) -> bool:
        """Whether objects of this class may be made from a record as this kind."""
        return cls in self.types

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        """Why an object, a live one if there is `thing`, cannot have these labels and values, or an empty text."""
        return "" if labels is None else f"a {self.tag} has no names for its items"


class NamedKind(Kind):
    """What holds values by name: `read` gives the names, and then the values."""

    has_names = True

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        count = len(objects) // 2
        return objects[:count], objects[count:]

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.{label}"
