"""Which differences of a resume are wanted: those that follow from keys which the command line names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from paddle_resume.config.schema import model_at

# Owners that report what follows from the config, with the keys from which it follows; the owner `config` reports
# the keys themselves.
_DECIDED_BY = {
    "scheduler": re.compile(r"optimizer(\.lr(\..+)?)?"),
    "rates": re.compile(r"optimizer(\.lr(\..+)?)?"),
    "settings": re.compile(r"optimizer(\.(?!lr(\.|$)).+)?"),
    "update": re.compile(r"trainer\.accumulate_steps"),
    "precision": re.compile(r"trainer\.amp(_dtype)?"),
    "divergence": re.compile(r"trainer\.(on_nan|rollback_lr|max_rollbacks)"),
    "best": re.compile(r"best(\..+)?"),
}
# The data's owners name fields, which these keys decide; every other field is decided by the data themselves.
_DATA = {
    "global_batch_size": "data.global_batch_size",
    "seed": "run.seed",
    "shuffle": "data.shuffle",
    "drop_last": "data.drop_last",
}
_DATA_FIELD = re.compile(r"(?:\w+ )?data (\w+):")
_WAS_EMPTY = re.compile(r"\S+: (null|\(absent\)) -> ")


class AllowedChanges:
    """Decides which differences between a checkpoint and this start were asked for.

    Args:
        overrides: texts `key=value`; a difference in one of these keys is wanted, and what follows from it.
        counted: keys whose value was `auto`.
        length_keys: keys on which the number for `auto` depends, with all below them.
    """

    def __init__(self, overrides: Iterable[str], counted: Iterable[str] = (), length_keys: Iterable[str] = ()) -> None:
        self.keys = tuple(dict.fromkeys(text.partition("=")[0].strip() for text in overrides))
        deciding = tuple(length_keys)
        decided = any(f"{key}.".startswith(tuple(f"{one}." for one in deciding)) for key in self.keys)
        self._counted = set(counted) if decided else set()

    def wanted(self, differences: Mapping[str, list[str]]) -> list[str]:
        """Those of the differences (lines by the name of the owner that reported them) that were asked for."""
        config = differences.get("config", [])
        wanted = [line for line in config if self._names(line)]
        for owner, lines in differences.items():
            if owner in ("data", "evaluation"):
                wanted += [line for line in lines if self._decides_data(line)]
            elif owner in _DECIDED_BY and self._decides(_DECIDED_BY[owner], config, wanted):
                wanted += lines
        return wanted

    def _names(self, line: str) -> bool:
        """Whether a line of the config's owner is about one of the keys."""
        key = line.partition(":")[0]
        for name in self.keys:
            if f"{key}.".startswith(f"{name}.") or _is_argument_of_renamed(key, name):
                return True
            if name.startswith(f"{key}.") and _WAS_EMPTY.match(line):
                return True
        return key in self._counted

    def _decides(self, pattern: re.Pattern[str], config: list[str], wanted: list[str]) -> bool:
        """Whether one of the keys matches, and no other that matches differs."""
        there = [line for line in config if pattern.fullmatch(line.partition(":")[0])]
        named = any(pattern.fullmatch(key) for key in (*self.keys, *self._counted))
        return named and all(line in wanted for line in there)

    def _decides_data(self, line: str) -> bool:
        match = _DATA_FIELD.match(line)
        if match is None:
            return False
        if match[1] in _DATA:
            return _DATA[match[1]] in self.keys
        return any(key.startswith("data.") and key not in _DATA.values() for key in self.keys) or (
            match[1] == "digest" and "run.seed" in self.keys  # The samples' transforms are keyed by it.
        )


def _is_argument_of_renamed(key: str, name: str) -> bool:
    """Whether `key` is an argument of the class that `name` names anew, which starts without those given before."""
    owner, _, last = name.rpartition(".")
    if last != "name" or not key.startswith(f"{owner}."):
        return False
    section = model_at(tuple(owner.split(".")))
    return section is None or key[len(owner) + 1 :].partition(".")[0] not in section.model_fields
