"""Which differences of a resume were asked for: those that follow from keys which the command line names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from paddle_resume.config.schema import model_at
from paddle_resume.differences import ABSENT, ConfigScope, Difference, within


class AllowedChanges:
    """Decides which differences between a checkpoint and this start were asked for.

    Args:
        overrides: texts `key=value`; a difference in one of these keys is wanted, and what follows from it.
        counted: keys whose value was `auto`.
        length_keys: keys on which the number for `auto` depends, with all below them.
    """

    def __init__(self, overrides: Iterable[str], counted: Iterable[str] = (), length_keys: Iterable[str] = ()) -> None:
        self.keys = tuple(dict.fromkeys(text.partition("=")[0].strip() for text in overrides))
        decided = any(within(key, one) for key in self.keys for one in length_keys)
        self._counted = set(counted) if decided else set()

    def wanted(self, differences: Sequence[Difference]) -> list[Difference]:
        """Those of the differences that were asked for."""
        config = [one for one in differences if one.owner == "config"]
        named = [one for one in config if self._names(one)]
        rest = [one for one in differences if one.owner != "config" and one.scope is not None]
        return named + [one for one in rest if one.scope and self._decides(one.scope, config, named)]

    def _names(self, difference: Difference) -> bool:
        """Whether a difference of the config is about one of the keys."""
        key, was_empty = difference.subject, difference.before in (None, ABSENT)
        for name in self.keys:
            if within(key, name) or _is_argument_of_renamed(key, name) or (was_empty and within(name, key)):
                return True
        return key in self._counted

    def _decides(self, scope: ConfigScope, config: list[Difference], named: list[Difference]) -> bool:
        """Whether one of the keys is in this part of the config, and nothing else in it differs."""
        asked = any(scope.covers(key) for key in (*self.keys, *self._counted))
        return asked and all(one in named for one in config if scope.covers(one.subject))


def _is_argument_of_renamed(key: str, name: str) -> bool:
    """Whether `key` is an argument of the class that `name` names anew, which starts without those given before."""
    owner, _, last = name.rpartition(".")
    if last != "name" or not key.startswith(f"{owner}."):
        return False
    section = model_at(tuple(owner.split(".")))
    return section is None or key[len(owner) + 1 :].partition(".")[0] not in section.model_fields
