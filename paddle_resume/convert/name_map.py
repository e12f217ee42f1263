"""The name map: what a person says about names in a file and names in the model, and which need not be said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from paddle_resume.config.wording import show
from paddle_resume.config.yaml_files import Located, read_file
from paddle_resume.errors import ConfigError

_WRAPPERS = ("module.", "_orig_mod.")
"""What torch's DataParallel, DistributedDataParallel and compile put before every name."""
_KEYS = ("to", "transpose")


@dataclass(frozen=True)
class MappedName:
    """What becomes of one name: its name in the model (None: left out), and whether to transpose, if a map says so."""

    to: Optional[str]
    transpose: Optional[bool] = None


@dataclass(frozen=True)
class _Rule:
    pattern: str
    matches: re.Pattern[str]
    named: MappedName


@dataclass
class NameMap:
    """Patterns in which each `*` stands for any text; the first that matches a name decides."""

    rules: list[_Rule] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def apply(self, name: str) -> MappedName:
        for rule in self.rules:
            match = rule.matches.fullmatch(name)
            if match:
                self.used.add(rule.pattern)
                if rule.named.to is None:
                    return rule.named
                return MappedName(_substitute(rule.named.to, match.groups()), rule.named.transpose)
        return MappedName(name)

    def unused(self) -> list[str]:
        """The patterns that no name has matched."""
        return [rule.pattern for rule in self.rules if rule.pattern not in self.used]


def read_name_map(path: str) -> NameMap:
    """The map in a YAML file: `pattern: name`, `pattern: null`, or `pattern: {to: name, transpose: false}`.

    Raises ConfigError with file, line and what was expected.
    """
    problems: list[str] = []
    tree = read_file(Path(path), problems)
    rules: list[_Rule] = []
    for pattern, given in tree.value.items():
        try:
            rules.append(_rule(pattern, given))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return NameMap(rules)


def without_wrappers(names: Iterable[str], known: Iterable[str]) -> str:
    """The prefix that torch's wrappers have put before every one of `names`, and that no name of the model has."""
    names, known, prefix = list(names), list(known), ""
    while names:
        more = next((wrapper for wrapper in _WRAPPERS if all(n.startswith(prefix + wrapper) for n in names)), None)
        if more is None or any(name.startswith(prefix + more) for name in known):
            break
        prefix += more
    return prefix


def _substitute(to: str, texts: tuple[str, ...]) -> str:
    """`to` with its `*`, one after the other, replaced by the texts that those of the pattern stood for."""
    first, *others = to.split("*")
    return first + "".join(text + other for text, other in zip(texts, others))


def _rule(pattern: str, given: Located) -> _Rule:
    value: Any = given.plain()
    said = value if isinstance(value, dict) else {"to": value}
    to, transpose = said.get("to", pattern), said.get("transpose")
    if not set(said) <= set(_KEYS) or not (to is None or (isinstance(to, str) and to)):
        raise ConfigError(
            f"{given.place}: {pattern} becomes {show(value)}; expected a name, null to leave it out, or "
            "{to: NAME, transpose: true or false}"
        )
    if not (transpose is None or isinstance(transpose, bool)):
        raise ConfigError(f"{given.place}: transpose of {pattern} is {show(transpose)}; expected true or false")
    if to is not None and to.count("*") != pattern.count("*"):
        raise ConfigError(
            f"{given.place}: {pattern} and {to} need the same number of *, each of which stands for a text"
        )
    matches = re.compile("(.*)".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    return _Rule(pattern, matches, MappedName(to, transpose))
