"""The page docs/config.md: every key with its type, default and meaning, made from the schema, so it cannot drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from paddle_resume.config import Config
from paddle_resume.config.schema import model_in
from paddle_resume.config.sections import Component, Section
from paddle_resume.config.trajectory import alters_trajectory
from paddle_resume.config.wording import show
from paddle_resume.toolbox.reference_config import plain_default
from paddle_resume.translations import heading, shown

_HEAD = """\
# Every key of a config

This page is made by `paddle-resume schema --page` from the code that checks configs; do not edit it by hand. The same
keys as a YAML file: [configs/reference.yaml](../configs/reference.yaml).

*Alters* says whether the key alters the trajectory, the sequence of parameter values. One with *yes* may not change on
a resume: the command stops and names it, see [why-not-exact.md](why-not-exact.md). One with *no* may change whenever
you like, with these exceptions, which something else compares: `metrics`, whose sums are state; `trainer.on_nan` and
its two numbers, if it is `skip` or `rollback`; `trainer.evaluate_every`, if evaluations decide something (`best`, or a
schedule with a `metric`). A callback that only watches, such as `LookInside`, may come and go.

A section with a `name` takes further keys: the arguments of the class that the name means. They alter what the name
alters.
"""
_BOUNDS = (
    ("minimum", "{} or more"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "{} or less"),
    ("exclusiveMaximum", "below {}"),
)
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def config_page() -> str:
    """The text of docs/config.md: for each section a table of its keys."""
    sections = _sections("", Config, alters=True)
    return shown(_HEAD) + "".join(f"\n{text}" for text in sections)


def _sections(path: str, model: type[Section], alters: bool) -> Iterator[str]:
    """The section at `path` and those below it; `alters` is false where a section above may change freely."""
    if path:
        yield "\n".join(_table(path, model, alters)) + "\n"
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        # A plain class with arguments has no keys of its own but its name.
        if inner is not None and (inner is not Component or not path):
            yield from _sections(f"{path}.{name}" if path else name, inner, alters and alters_trajectory(field))


def _table(path: str, model: type[Section], alters: bool) -> Iterator[str]:
    yield f"## {path}"
    yield ""
    yield _purpose(path, model)
    yield ""
    yield shown("| key | type | default | alters | meaning |")
    yield "|---|---|---|---|---|"
    schema = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        moves = heading("yes" if alters and alters_trajectory(field) else "no")
        kind = _kind(schema[name])
        default, meaning = shown(_default(f"{path}.{name}", field)), _cell(shown(field.description or ""))
        yield f"| `{name}` | {kind} | {default} | {moves} | {meaning} |"


def _purpose(path: str, model: type[Section]) -> str:
    """What the section is, as the key that holds it says."""
    *above, name = path.split(".")
    holder: Any = Config
    for part in above:
        holder = model_in(holder.model_fields[part].annotation)
    text = holder.model_fields[name].description or model.__doc__ or ""
    sentence = shown(f"{text.rstrip('.')}.")
    return sentence[0].upper() + _cell(sentence[1:])


def _default(path: str, field: FieldInfo) -> str:
    if path == "run.model_path":  # Made from another key; in a file it is null.
        return "`null`"
    if field.is_required():
        return "none: give one"
    value = field.get_default(call_default_factory=True)
    return "see below" if isinstance(value, Section) else f"`{show(plain_default(value))}`"


def _kind(part: dict[str, Any]) -> str:
    """A type of JSON schema in words."""
    either = part.get("anyOf") or part.get("oneOf")
    if either:
        return f" {heading('or')} ".join(dict.fromkeys(_kind(one) for one in either))
    if "enum" in part or "const" in part:
        return " / ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        item = _kind(part["items"])
        return shown(f"list of {item}{'' if item.startswith('`') else 's'}")
    if part.get("type") not in _TYPES:  # A reference to another section.
        return heading("section")
    bounds = [shown(text.format(show(part[bound]))) for bound, text in _BOUNDS if bound in part]
    name = _TYPES[part["type"]]
    return " ".join([heading(name), *([f"({', '.join(bounds)})"] if bounds else [])])


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table, in which neither a bar nor an angle bracket means anything."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
