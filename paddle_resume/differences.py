"""What differs between a checkpoint and this start, as data, and the one place that puts it into words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional, Union

from paddle_resume.user_terms import ARGUMENTS, speaks_command

_UNSAID = object()
CONFIG = "config"
"""The owner that reports the keys of a config."""


class _Absent:
    """Stands for a value that one side does not have."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


@dataclass(frozen=True)
class ConfigScope:
    """The part of a config from which something follows: these keys with all below them, but for those in `without`."""

    keys: tuple[str, ...]
    without: tuple[str, ...] = ()

    def covers(self, key: str) -> bool:
        """Whether a change of `key` may change what follows from this part."""
        return any(overlap(key, own) for own in self.keys) and not any(within(key, other) for other in self.without)

    def __str__(self) -> str:
        return ", ".join(self.keys)


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was when the checkpoint was saved.

    Args:
        subject: what it is, as a person calls it: `learning rate interval`.
        before, after: its two values; left out where the subject says all.
        scope: the part of a config that decides it, and with which it can be allowed; None: nothing in a config does.
        argument: what decides it in Python, such as `Trainer.train(global_batch_size=)`.
        spelled: how its values are written.
        owner: the name of the owner that reports it.
        hint: what else could have been done, said once after all differences.
        follows: it is left out where what it follows from, something else of its scope, is a difference itself.
    """

    subject: str
    before: Any = _UNSAID
    after: Any = _UNSAID
    scope: Optional[ConfigScope] = None
    argument: str = ""
    spelled: Callable[[Any], str] = field(default=str, compare=False, repr=False)
    owner: str = ""
    hint: str = field(default="", compare=False, repr=False)
    follows: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        if self.before is _UNSAID:
            return self.subject
        return f"{self.subject}: {self._spell(self.before)} -> {self._spell(self.after)}"

    @property
    def advice(self) -> str:
        """Its text, and where the value is set."""
        key = "" if self.scope is None or self.subject in self.scope.keys else str(self.scope)
        place = (key or self.argument) if speaks_command() else (self.argument or key)
        # The subject may be the very key, whose argument then stands in its place.
        says_all = not speaks_command() and ARGUMENTS.get(self.subject) == place
        return f"{self} (set by {place})" if place and not says_all else str(self)

    @property
    def advice_in_python(self) -> str:
        """Its text, and the argument that sets the value."""
        return f"{self} (set by {self.argument})" if self.argument else str(self)

    @property
    def name(self) -> str:
        """The name of the Python argument that decides it; empty if none does."""
        found = re.search(r"\((\w+)=\)$", self.argument)
        return found.group(1) if found else ""

    def _spell(self, value: Any) -> str:
        return repr(value) if value is ABSENT else self.spelled(value)


def compare_fields(
    subject: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    keys: Optional[Iterable[str]] = None,
    scope: Optional[ConfigScope] = None,
    argument: str = "",
    hint: str = "",
) -> list[Difference]:
    """A Difference for each key whose value is another; `{}` in `subject` and `argument` stands for it."""
    keys = dict.fromkeys([*before, *after]) if keys is None else keys
    return [
        Difference(subject.format(key), before.get(key), after.get(key), scope, argument.format(key), hint=hint)
        for key in keys
        if before.get(key) != after.get(key)
    ]


def reported_by(owner: str, found: Iterable[Union[Difference, str]]) -> list[Difference]:
    """What `owner` reports; an owner of a user's may report plain sentences."""
    return [replace(one if isinstance(one, Difference) else Difference(one), owner=owner) for one in found]


def leading(differences: Sequence[Difference]) -> list[Difference]:
    """Those of which the others are mere consequences: where keys of a config differ, not what was built from them."""
    keys = [one.subject for one in differences if one.owner == CONFIG]
    kept = [
        one
        for one in differences
        if one.owner == CONFIG or one.scope is None or not any(one.scope.covers(key) for key in keys)
    ]
    return list({str(one): one for one in kept}.values())


def sentences(differences: Iterable[Difference]) -> str:
    """All of them in one paragraph, each with where it is set."""
    return "; ".join(one.advice for one in differences)


def within(key: str, section: str) -> bool:
    """Whether the config's `key` is `section`, or below it."""
    return f"{key}.".startswith(f"{section}.")


def overlap(key: str, other: str) -> bool:
    """Whether one of the two keys is the other, or below it."""
    return within(key, other) or within(other, key)
