"""The reference config: every key with its default and its meaning, made from the schema, so that it cannot drift."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from paddle_resume.config import Config
from paddle_resume.config.schema import model_in
from paddle_resume.config.sections import Section
from paddle_resume.config.wording import show

# What keys without a default are shown with: run and model need it, the others are off by default.
_SAMPLES = {
    "run.name": "mnist",
    "run.model_path": None,  # Its default is made from run.name.
    "model.name": "MNIST",
    "data.augment.name": "RandomCrop",
    "metrics.name": "Accuracy",
    "optimizer.lr.name": "StepDecay",
    "optimizer.lr.warmup.steps": 500,
    "optimizer.clip.name": "ClipGradByGlobalNorm",
    "optimizer.groups.match": ["features.*"],
    "optimizer.groups.weight_decay.name": "L2Decay",
    "optimizer.regularization.name": "L1Decay",
    "optimizer.regularization.match": ["*.weight"],
    "parallel.plan.name": "*.linear1.weight",
    "parallel.plan.split": 1,
    "callbacks.name": "LookInside",
}
_HEAD = """\
# Every key of a config with its default. Made by `paddle-resume schema --reference`; do not edit it by hand.
# Lines that begin with "# " show what may stand in place of the key above them: take the "# " away there, and
# that key. A section with a name takes further keys: the arguments of the class that the name means.
"""
_WIDTH = 120
_COLUMN = 34
_MARK = "# "


def reference_yaml() -> str:
    """The text of `configs/reference.yaml`: a config that is complete and has every default."""
    return _HEAD + "\n" + "\n\n".join("\n".join(_key(*each, "", 0)) for each in Config.model_fields.items()) + "\n"


def _key(name: str, field: FieldInfo, above: str, depth: int, marks: int = 0) -> Iterator[str]:
    """The lines of one key and of the section below it; `marks` is how many comment signs stand before them."""
    path = f"{above}{name}"
    default, inner = _default(path, field), model_in(field.annotation)
    if isinstance(default, Section):
        yield _line(f"{name}:", field, depth, marks)
        yield from _section(type(default), path, depth + 1, marks)
        return
    yield _line(f"{name}: {show(plain_default(default))}", field, depth, marks)
    if inner is not None:
        yield from _alternative(name, inner, path, depth, marks + 1, in_list=_holds_list(field.annotation))


def _section(model: type[Section], path: str, depth: int, marks: int) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield from _key(name, field, f"{path}.", depth, marks)


def _alternative(name: str, model: type[Section], path: str, depth: int, marks: int, in_list: bool) -> Iterator[str]:
    """What may stand in place of a default that is null, a number or a list: its keys, as comments."""
    yield f"{_MARK * marks}{'  ' * depth}{name}:"
    lines = list(_section(model, path, depth + (2 if in_list else 1), marks))
    if in_list:
        indent = _MARK * marks + "  " * (depth + 1)
        lines[0] = lines[0].replace(f"{indent}  ", f"{indent}- ", 1)
    yield from lines


def _holds_list(annotation: Any) -> bool:
    return get_origin(annotation) is list


def _default(path: str, field: FieldInfo) -> Any:
    if path in _SAMPLES:
        return _SAMPLES[path]
    if not field.is_required():
        return field.get_default(call_default_factory=True)
    inner = model_in(field.annotation)
    assert inner is not None, f"{path} has no default; give it one in _SAMPLES"
    return inner.model_construct()


def plain_default(value: Any) -> Any:
    """A default as a file would hold it: of a component only what is given."""
    if isinstance(value, list):
        return [plain_default(each) for each in value]
    return value.model_dump(exclude_defaults=True) if isinstance(value, Section) else value


def _line(text: str, field: FieldInfo, depth: int, marks: int) -> str:
    """The key with its meaning behind it, or above it where both together are too long."""
    indent, meaning = _MARK * marks + "  " * depth, field.description or ""
    line = f"{indent + text:<{_COLUMN}}  # {meaning}"
    if len(line) <= _WIDTH:
        return line
    above = textwrap.wrap(meaning, _WIDTH - len(indent) - len(_MARK))
    return "\n".join([*(f"{indent}{_MARK}{each}" for each in above), indent + text])
