"""Parameters chosen by patterns of their structured names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import paddle

from paddle_resume.config.wording import show
from paddle_resume.errors import ConfigError


def parameter_names(model: paddle.nn.Layer) -> dict[str, list[str]]:
    """The structured names of each parameter by Paddle's name for it; a tied parameter has several."""
    names: dict[str, list[str]] = {parameter.name: [] for parameter in model.parameters()}
    for structured, tensor in model.state_dict().items():
        if tensor.name in names:
            names[tensor.name].append(structured)
    return names


def matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Whether one of the structured names of a parameter fits one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def require_matches(where: str, patterns: Sequence[str], names: Mapping[str, list[str]]) -> None:
    """Raises ConfigError naming the place `where` if a pattern matches none of the `names` of all parameters."""
    known = [name for aliases in names.values() for name in aliases]
    for pattern in patterns:
        if matches(known, [pattern]):
            continue
        near = difflib.get_close_matches(pattern.replace("*", ""), known, n=3, cutoff=0.4)
        some = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
        advice = f"did you mean {', '.join(near)}?" if near else f"its parameters are {some}"
        raise ConfigError(
            f"{where}: {show(pattern)} matches no parameter of the model; expected a glob on whole structured names; "
            f"{advice}"
        )
