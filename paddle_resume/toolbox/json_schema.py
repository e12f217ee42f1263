"""`schema`: the keys of a config as a JSON schema, by which editors complete, explain and check a YAML file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paddle_resume.config import Config
from paddle_resume.config.schema import model_in
from paddle_resume.config.sections import Section
from paddle_resume.config.yaml_files import BASE_KEY

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BASE = {
    "description": "another config file whose keys count where this file has none, or a list of such files",
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}],
}


def json_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of what a config file may hold.

    A file need not have every key of a complete config: with `_base_`, or `-o` on the command line, others come in.
    """
    found = Config.model_json_schema()
    found["properties"] = {BASE_KEY: _BASE, **found["properties"]}
    found.pop("required", None)
    # In a file that goes over another, a section may hold just what it changes.
    for section in found["$defs"].values():
        section.pop("required", None)
    # The one key whose default is made from another: written as null, and a text in the complete config.
    path = found["$defs"]["RunConfig"]["properties"]["model_path"]
    path["type"], path["default"] = ["string", "null"], None
    for part in (found, *found["$defs"].values()):
        _tidy(part)
    return {"$schema": _DIALECT, "title": "A config of paddle_resume", **found}


def undescribed(model: type[Section] = Config, above: str = "") -> Iterator[str]:
    """The keys that say nothing of their meaning; there should be none."""
    for name, field in model.model_fields.items():
        if not field.description:
            yield f"{above}{name}"
        inner = model_in(field.annotation)
        if inner is not None:
            yield from undescribed(inner, f"{above}{name}.")


def _tidy(part: dict[str, Any]) -> None:
    """Leave out what only repeats the key, and what this package marks for itself."""
    part.pop("title", None)
    for field in part.get("properties", {}).values():
        field.pop("title", None)
        field.pop("trajectory", None)
