"""Which differences between two configs alter the trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Callable

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from paddle_resume.config.schema import Config, model_in
from paddle_resume.config.sections import Section
from paddle_resume.config.wording import show
from paddle_resume.differences import ABSENT, ConfigScope, Difference


def trajectory_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """A Difference for each field that alters the trajectory and is another, such as `optimizer.lr: 0.01 -> 0.001`.

    Both are configs as `Config.to_dict` gives them, possibly by different versions of this package: a field
    that one side lacks counts as its default, and a key that the schema does not know counts as altering.
    """
    return list(_differences(Config, old, new, ""))


def _differences(
    model: type[Section] | None, old: Mapping[str, Any], new: Mapping[str, Any], prefix: str
) -> Iterator[Difference]:
    fields = model.model_fields if model else {}
    for key in dict.fromkeys([*fields, *old, *new]):
        field = fields.get(key)
        if field is not None and not alters_trajectory(field):
            continue
        absent = _default(field)
        before, after = old.get(key, absent), new.get(key, absent)
        inner = model_in(field.annotation) if field else None
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(inner, before, after, f"{prefix}{key}.")
        elif before != after:
            yield config_difference(f"{prefix}{key}", before, after, partial(_show, inner))


def config_difference(key: str, before: Any, after: Any, spelled: Callable[[Any], str] = show) -> Difference:
    """That `key` of a config has another value."""
    return Difference(key, before, after, ConfigScope((key,)), spelled=spelled)


def alters_trajectory(field: FieldInfo) -> bool:
    """Whether another value of this key gives another sequence of parameter values."""
    marks = field.json_schema_extra
    return not (isinstance(marks, dict) and marks.get("trajectory") is False)


def _default(field: FieldInfo | None) -> Any:
    if field is None or field.is_required():
        return ABSENT
    value = field.get_default(call_default_factory=True)
    return value.model_dump() if isinstance(value, BaseModel) else value


def _show(model: type[Section] | None, value: Any) -> str:
    """The value as YAML, of a mapping only what is not the default."""
    if isinstance(value, Mapping) and model is not None:
        fields = model.model_fields
        value = {key: part for key, part in value.items() if part != _default(fields.get(key))}
    return show(value)
