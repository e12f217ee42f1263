"""The YAML of config files: PyYAML's safe YAML in which `1e-4` is a number and a date is a text."""

from __future__ import annotations

import re

import yaml

_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_WITH_EXPONENT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")


class Loader(yaml.SafeLoader):
    """Reads only values that fit into JSON, unless a tag such as !!binary asks for another."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name and the shape are PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Dumper(yaml.SafeDumper):
    """Puts quotes around every text that `Loader` would take for something else."""


for _side in (Loader, Dumper):
    _side.add_implicit_resolver(_FLOAT, _WITH_EXPONENT, list("-+.0123456789"))
