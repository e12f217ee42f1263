"""The YAML of config files: PyYAML's safe YAML in which `1e-4` is a number and a date is a text."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FLOAT = "tag:yaml.org,2002:float"
_MOST_NODES, _MOST_DEEP = 20_000, 100
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_WITH_EXPONENT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")


class Loader(yaml.SafeLoader):
    """Reads only values that fit into JSON, unless a tag such as !!binary asks for another."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name and the shape are PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node of the text, of which there may be only so many."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"it has more than {_MOST_NODES:,} values", problem_mark=mark)
        if self._depth > _MOST_DEEP:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=self.peek_event().start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class Dumper(yaml.SafeDumper):
    """Puts quotes around every text that `Loader` would take for something else."""


for _side in (Loader, Dumper):
    _side.add_implicit_resolver(_FLOAT, _WITH_EXPONENT, list("-+.0123456789"))
