"""Arguments of public functions, checked when they are called: a slip is told in one sentence, before anything runs.

What is checked is what the annotations say; what they cannot say, such as a range, comes as a Rule. So each function of
the public face has the same checks and the same words, and none has them by itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable, TypeVar, get_type_hints

from paddle_resume.argument_types import described, expected_words, fits, items_type
from paddle_resume.errors import ConfigError
from paddle_resume.near_names import nearest

_Called = TypeVar("_Called", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class Rule:
    """What a value has to be besides its type; None, where the annotation allows it, is not asked."""

    expected: str
    holds: Callable[[Any], bool]
    advice: Callable[[Any], str] = lambda value: ""
    """What to write instead, for values of which that is known."""
    is_needed: bool = False
    """Whether None is no value, though the annotation says nothing of it."""


AT_LEAST_ONE = Rule("a whole number of 1 or more", lambda value: value >= 1)
AT_LEAST_ZERO = Rule("a whole number of 0 or more", lambda value: value >= 0)
POSITIVE = Rule("a number above 0", lambda value: value > 0)
SEED = Rule("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32)
BETWEEN = Rule("a number above 0 and below 1", lambda value: 0 < value < 1)


def one_of(*values: Any) -> Rule:
    """One of these, of which texts get a near name suggested."""

    def advice(value: Any) -> str:
        like = nearest(value, [one for one in values if isinstance(one, str)]) if isinstance(value, str) else None
        return f'did you mean "{like}"?' if like else ""

    shown = ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in values)
    return Rule(f"one of {shown}", lambda value: value in values, advice)


def checked(_renamed: Mapping[str, str] | None = None, **rules: Rule) -> Callable[[_Called], _Called]:
    """A function or method whose arguments are checked; raises ConfigError, and nothing of it is run then.

    `_renamed` tells of what has another name here than elsewhere: `{"batch_size": "global_batch_size"}`.
    """

    def decorate(function: _Called) -> _Called:
        check = _Check(function, function, rules, _renamed or {})

        @functools.wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            check(arguments, named)
            return function(*arguments, **named)

        return called  # type: ignore[return-value]

    return decorate


def checked_class(_renamed: Mapping[str, str] | None = None, **rules: Rule) -> Callable[[_Class], _Class]:
    """A class, perhaps a dataclass, whose `__init__` has its arguments checked; see `checked`."""

    def decorate(cls: _Class) -> _Class:
        made: Any = cls.__init__  # type: ignore[misc]
        check = _Check(made, cls if hasattr(cls, "__dataclass_fields__") else made, rules, _renamed or {}, cls.__name__)

        @functools.wraps(made)
        def __init__(self: Any, *arguments: Any, **named: Any) -> None:
            check((self, *arguments), named)
            made(self, *arguments, **named)

        cls.__init__ = __init__  # type: ignore[misc]
        return cls

    return decorate


class _Check:
    """The check of one function: by its signature, the types of its annotations, and the rules."""

    def __init__(
        self, function: Any, annotated: Any, rules: Mapping[str, Rule], renamed: Mapping[str, str], where: str = ""
    ) -> None:
        self._signature = inspect.signature(function)
        self._annotated = annotated
        self._rules = rules
        self._renamed = renamed
        self._is_class = bool(where)
        self._where = where or function.__qualname__.replace(".__init__", "")

    @functools.cached_property
    def _types(self) -> Mapping[str, Any]:
        # Not when it is decorated: a module may name classes that it imports later.
        return get_type_hints(self._annotated)

    def __call__(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        where = self._where
        if self._is_class and type(arguments[0]).__module__.startswith("paddle_resume."):
            where = type(arguments[0]).__name__  # A class of ours that is derived from the one with the check.
        given = self._bound(where, arguments, named)
        for name, value in given.items():
            if problem := self._problem(where, name, value, given):
                raise ConfigError(problem)

    def _bound(self, where: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        parameters = self._signature.parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        known = [name for name in parameters if name != "self"]
        for name in named:
            if name not in known and not takes_all:
                raise ConfigError(self._unknown(where, name, known))
        try:
            return dict(self._signature.bind(*arguments, **named).arguments)
        except TypeError as error:
            needed = ", ".join(f"{name}=" for name in self._needed(arguments, named))
            if needed:
                raise ConfigError(f"{where}() is called without {needed}; give that too.") from None
            raise ConfigError(self._too_many(where, arguments, named) or f"{where}(): {error}.") from None

    def _too_many(self, where: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
        """The sentence for arguments without a name that are more than may be, with the name of the first."""
        parameters = self._signature.parameters
        places = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
        if len(arguments) <= len(places):
            return ""
        others = [name for name in parameters if name not in places and name not in named]
        meant = [
            one
            for one in others
            if self._types.get(one, Any) is not Any and fits(arguments[len(places)], self._types[one])
        ]
        said = f"; write {meant[0]}=..." if meant else ""
        taken = ", ".join(name for name in places if name != "self")
        return f"{where}() takes {taken} without a name, and all others by their names{said}."

    def _unknown(self, where: str, name: str, known: list[str]) -> str:
        if name in self._renamed:
            return f"{where}({name}=): {self._renamed[name]}."
        like = nearest(name, known)
        have = f"did you mean {like}=?" if like else f"there are {', '.join(f'{one}=' for one in known)}."
        return f"{where} has no argument {name}=; {have}"

    def _needed(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[str]:
        for place, (name, one) in enumerate(self._signature.parameters.items()):
            is_plain = one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
            if is_plain and one.default is one.empty and place >= len(arguments) and name not in named:
                yield name

    def _problem(self, where: str, name: str, value: Any, given: Mapping[str, Any]) -> str:
        kind, rule = self._types.get(name), self._rules.get(name)
        if kind is None or self._signature.parameters[name].kind in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        ):
            return ""
        if value is None and fits(None, kind) and not (rule is not None and rule.is_needed):
            return ""
        if fits(value, kind) and (rule is None or rule.holds(value)):
            return ""
        expected = rule.expected if rule is not None else expected_words(kind)
        shown, found = described(value)
        advice = (rule.advice(value) if rule is not None else "") or self._advice(name, value, kind, given)
        told = f"{where}({name}={shown}): expected {expected}, found {found}{'; ' + advice if advice else ''}"
        return told.rstrip("?.") + ("?" if advice.endswith("?") else ".")

    def _advice(self, name: str, value: Any, kind: Any, given: Mapping[str, Any]) -> str:
        """What the caller probably meant to write."""
        if isinstance(value, type):
            return f"write {name}={value.__name__}(...)"
        if isinstance(value, (list, tuple)) and (classes := [one for one in value if isinstance(one, type)]):
            return f"write {name}=[{classes[0].__name__}(...)]"
        if items_type(kind) is not None and fits(value, items_type(kind)):
            return f"write {name}=[...]"
        if isinstance(value, str) and fits_as_number(value, kind):
            return f"write {name}={value}"
        for other, there in given.items():
            wanted = self._types.get(other)
            if other == name or wanted is None or wanted is Any or there is value:
                continue
            if fits(value, wanted) and not fits(there, wanted):
                return f"{name} and {other} seem to be swapped"
        if inspect.isroutine(value):
            return f"write {name}={getattr(value, '__name__', '...')}(...)"
        return ""


def fits_as_number(text: str, kind: Any) -> bool:
    """Whether the number that the text spells would fit."""
    for number in (int, float):
        try:
            return fits(number(text), kind)
        except ValueError:
            continue
    return False
