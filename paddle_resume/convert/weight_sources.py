"""Named arrays from any file that holds weights: torch's two formats, safetensors, and Paddle's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.checkpoint.weights import NAME_TABLE, read_named
from paddle_resume.config.wording import nearest
from paddle_resume.convert.safetensors import read_safetensors
from paddle_resume.convert.torch_files import read_torch
from paddle_resume.convert.torch_pickle import Tensor
from paddle_resume.errors import CheckpointError, ConfigError

Layout = Literal["torch", "paddle"]
"""Whose names and whose order of axes a file has."""

FORMAT = "format"
_LAYOUTS: dict[str, Layout] = {"pt": "torch", "torch": "torch", "paddle": "paddle", "pd": "paddle"}
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_NO_TENSORS = "_extra_state"  # What torch's modules may add to a state dict besides tensors.
_LISTED = 12


@dataclass(frozen=True)
class Source:
    """Weights as a file holds them: arrays by name (bfloat16 as uint16), and what it says of them."""

    path: Path
    arrays: Arrays
    layout: Layout
    key: str = ""
    """Where in a training dictionary they were, such as `state_dict`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of a safetensors file."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Paddle's table structured name -> parameter name, if the file has one."""


def read_source(text: str, key: Optional[str] = None, layout: Optional[Layout] = None) -> Source:
    """The weights in a file of torch's or Paddle's, a safetensors file, or the checkpoint of a prefix.

    `key` is the path of the state dict in a training dictionary, with dots; without it the one dict of tensors in the
    file is found. `layout` is needed for a safetensors file that does not say whose it is. Nothing is executed.
    Raises CheckpointError for a file that cannot be used, and ConfigError for a key or layout that does not go with it.
    """
    path = Path(text)
    if path.suffix == ".safetensors":
        source = _from_safetensors(path, layout)
    elif path.suffix in _TORCH_SUFFIXES:
        source = _from_torch(path, key)
    else:
        found, arrays, names = read_named(text)
        source = Source(found, arrays, "paddle", names=names)
    if key is not None and path.suffix not in _TORCH_SUFFIXES:
        raise ConfigError(f"--key {key}: {source.path} has no dictionaries inside; leave --key out.")
    if layout is not None and layout != source.layout:
        raise ConfigError(f"--from {layout}: {source.path} is a file of {source.layout}'s; leave --from out.")
    return source


def _from_safetensors(path: Path, layout: Optional[Layout]) -> Source:
    arrays, metadata = read_safetensors(path)
    said = _LAYOUTS.get(metadata.get(FORMAT, ""))
    if said is None and layout is None:
        raise ConfigError(
            f"{path} does not say whether its weights are laid out as torch's or as Paddle's; say so with --from torch "
            "or --from paddle."
        )
    rest = dict(metadata)
    try:
        names = json.loads(rest.pop(NAME_TABLE, "{}"))
    except (ValueError, RecursionError):
        names = {}
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        names = {}
    # What was said with --from is compared with what the file says by the caller.
    return Source(path, arrays, said or layout or "torch", metadata=rest, names=names)


def _from_torch(path: Path, key: Optional[str]) -> Source:
    file = read_torch(path)
    if key is None:
        key, state = _only_state_dict(path, file.content)
    else:
        state = _at(path, file.content, key)
    return Source(path, file.arrays(_tensors(path, key, state)), "torch", key)


def _tensors(path: Path, key: str, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: {key or 'its content'} is a {type(state).__name__}, not a dict of tensors.")
    strange = [name for name, value in state.items() if not _belongs(name, value)]
    if strange:
        what = f"{str(strange[0])[:60]} is a {type(state[strange[0]]).__name__}"
        raise CheckpointError(
            f"{path}: {key or 'its content'} has entries that are no tensors: {what}. Name the dict of tensors with "
            f"--key; there are {_listed(path, state, key)}."
        )
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _only_state_dict(path: Path, content: Any) -> tuple[str, Any]:
    """The key and the dict of tensors, if there is just one; raises CheckpointError naming all there are."""
    found = list(_state_dicts(content))
    if len(found) == 1:
        return found[0]
    if not found:
        raise CheckpointError(
            f"{path} holds no dict of tensors by name. It has: {_keys(content)}. Save model.state_dict() in torch."
        )
    names = ", ".join(key for key, _ in found[:_LISTED])
    raise CheckpointError(f"{path} holds several dicts of tensors: {names}. Choose one with --key {found[0][0]}.")


def _state_dicts(
    content: Any, key: str = "", depth: int = 2, seen: Optional[set[tuple[int, int]]] = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict whose values are all tensors, and its path; not inside another, and not deeper than two keys.

    One that is there under several keys comes once: of a file with such there could be no end.
    """
    seen = set() if seen is None else seen
    if not isinstance(content, dict) or (id(content), depth) in seen:
        return
    seen.add((id(content), depth))
    if any(isinstance(value, Tensor) for value in content.values()) and all(
        _belongs(name, value) for name, value in content.items()
    ):
        yield key, content
    elif depth:
        for name, value in content.items():
            if isinstance(name, str):
                yield from _state_dicts(value, f"{key}.{name}" if key else name, depth - 1, seen)


def _belongs(name: Any, value: Any) -> bool:
    return isinstance(name, str) and (isinstance(value, Tensor) or name.endswith(_NO_TENSORS))


def _at(path: Path, content: Any, key: str) -> Any:
    """The value at a path of keys; a key may itself have dots in it."""
    if isinstance(content, dict):
        if key in content:
            return content[key]
        for name in content:
            if isinstance(name, str) and key.startswith(f"{name}.") and isinstance(content[name], dict):
                return _at(path, content[name], key[len(name) + 1 :])
    known = [name for name in content if isinstance(name, str)] if isinstance(content, dict) else []
    hint = nearest(key, known)
    advice = f" Did you mean {hint}?" if hint else ""
    raise ConfigError(f"--key {key}: {path} has no such key there; it has: {_keys(content)}.{advice}")


def _keys(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    shown = [f"{str(name)[:40]} ({type(value).__name__})" for name, value in list(content.items())[:_LISTED]]
    more = f" and {len(content) - _LISTED} more" if len(content) > _LISTED else ""
    return (", ".join(shown) or "nothing") + more


def _listed(path: Path, content: Any, key: str) -> str:
    return ", ".join(name for name, _ in _state_dicts(content, key)) or "none in this file"
