"""How messages show a value and name the nearest known word."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

import yaml

from paddle_resume.config.dialect import Dumper


def dump(value: Any, **style: Any) -> str:
    """`value` as a YAML text that a config file may hold; `style` are options of PyYAML."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, **style)


def show(value: Any) -> str:
    """`value` on one line, spelled as it would be in a YAML file."""
    text = dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, whatever the case of its letters; None when nothing is like it."""
    by_folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else None
