"""From YAML files and overrides to a checked `Config`, and back to YAML."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Callable, Union

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from paddle_resume.checked_arguments import checked
from paddle_resume.config.schema import Config, defaults, model_at
from paddle_resume.config.sections import TAG_MARK
from paddle_resume.config.shipped import find_config
from paddle_resume.config.trust import note_config
from paddle_resume.config.wording import dump, nearest, show
from paddle_resume.config.yaml_files import Located, apply_overrides, locate, merge, read_file
from paddle_resume.errors import ConfigError

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "less_than": "a number below {lt}",
    "literal_error": "{expected}",
}


@checked()
def load_config(
    path: Union[str, os.PathLike[str]],
    overrides: Iterable[str] = (),
    tell: Callable[[str], None] = lambda note: None,
    *,
    trust: bool = False,
) -> Config:
    """The config in the YAML file `path`, with each override `a.b=value` (a YAML value) laid over it.

    `tell` is called with what a person should know of it: arguments that an override has made void.

    A bare name such as `mnist` is that of a config of the package, unless there is a file of that name. Import paths
    in it may name modules of the user's own, also beside the file; with `trust` any others as well.

    Raises ConfigError with one line for each problem: its place (`file:line` or `-o override`), the key, what
    was found and what is expected.
    """
    problems: list[str] = []
    file = find_config(path)
    tree = merge(locate(defaults(), "default"), read_file(file, problems))
    tree = apply_overrides(tree, overrides, problems, partial(_tell_of_void, tell))
    try:
        config = Config.model_validate(tree.plain())
    except ValidationError as invalid:
        problems += [line for error in invalid.errors() for line in _explain(tree, error)]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))  # a base of two files is read twice
    note_config(file, config.to_dict(), trust)
    return config


def _tell_of_void(
    tell: Callable[[str], None], path: tuple[Any, ...], before: Any, after: Any, arguments: dict[str, Located]
) -> None:
    key = _dotted(path)
    keys = {f"{key}.{name}": located for name, located in arguments.items()}
    where = ", ".join(f"{key} ({located.place})" for key, located in keys.items())
    pasted = " ".join(shlex.join(["-o", f"{key}={show(located.plain())}"]) for key, located in keys.items())
    tell(
        f"{key}.name: {after} takes the place of {before}, whose arguments are left out: {where}. What of it {after} "
        f"takes too, give as well: {pasted}"
    )


def dump_yaml(config: Config) -> str:
    """The complete config as a YAML text that `load_config` reads back to the same config."""
    return dump(config.to_dict())


def _explain(tree: Located, error: ErrorDetails) -> Iterator[str]:
    path = tuple(part for part in error["loc"] if not str(part).startswith(TAG_MARK))
    key = _dotted(path)
    if error["type"] == "extra_forbidden":
        yield f"{tree.place_of(path)}: {_unknown(path)}"
    elif error["type"] == "unknown_keys":
        for name in error["ctx"]["keys"]:
            yield f"{tree.place_of((*path, name))}: {_unknown((*path, name))}"
    elif error["type"] == "missing":
        yield f"{tree.place_of(path)}: {key} is missing{_meaning(path)}"
    else:
        template = _EXPECTED.get(error["type"])
        expected = template.format(**error.get("ctx", {})) if template else error["msg"]
        yield f"{tree.place_of(path)}: {key} is {show(error['input'])}; expected {expected}{_meaning(path)}"


def _unknown(path: tuple[Any, ...]) -> str:
    *parents, key = path
    section = model_at(tuple(parents)) or Config
    sibling = nearest(key, section.model_fields)
    hint = _dotted((*parents, sibling)) if sibling else _elsewhere(key)
    advice = f"did you mean {hint}?" if hint else f"known here: {', '.join(section.model_fields)}"
    return f"{_dotted(path)} is not a known key; {advice}"


def _elsewhere(key: str) -> str | None:
    """The known key of that very name in another section, such as trainer.epochs for a top-level epochs."""
    for name in Config.model_fields:
        section = model_at((name,))
        if section and key in section.model_fields:
            return f"{name}.{key}"
    return None


def _meaning(path: tuple[Any, ...]) -> str:
    section = model_at(path[:-1])
    field = section.model_fields.get(path[-1]) if section else None
    return f" ({field.description})" if field and field.description else ""


def _dotted(path: Iterable[Any]) -> str:
    return ".".join(map(str, path))
