"""How messages show a value and name the nearest known word."""

from __future__ import annotations

import math
from typing import Any

import yaml

from paddle_resume.config.dialect import Dumper
from paddle_resume.near_names import nearest as nearest


def dump(value: Any, **style: Any) -> str:
    """`value` as a YAML text that a config file may hold; `style` are options of PyYAML."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, **style)


def show(value: Any) -> str:
    """`value` on one line, spelled as it would be in a YAML file."""
    text = dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()
