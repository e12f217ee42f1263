"""What the user of this process vouches for beyond their own modules, and where those may lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paddle_resume.config.shipped import FOLDER
from paddle_resume.errors import ConfigError

VARIABLE = "PADDLE_RESUME_TRUST"
ADVICE = (
    "If you have read this config and know where it comes from, add --trust-config (in Python: load_config(path, "
    f"trust=True); for every command: the environment variable {VARIABLE}=1)"
)

# By name, and never by record: what a checkpoint's own config names is no user's word.
_vouched: set[str] = set()
_config_folders: list[Path] = []


def trust_everything() -> None:
    """Whatever a config names may be used, in this process and in those that it starts."""
    os.environ[VARIABLE] = "1"


def is_trusted(name: str) -> bool:
    """Whether the user vouches for this name. Raises ConfigError for a variable that says neither yes nor no."""
    said = os.environ.get(VARIABLE, "")
    if said not in ("", "0", "1"):
        raise ConfigError(f"The environment variable {VARIABLE} is {said[:40]!r}; expected 1, to trust configs, or 0.")
    return said == "1" or name in _vouched


def note_config(file: Path, config: Mapping[str, Any], trust: bool) -> None:
    """The modules beside this file count as the user's own; with `trust` every name in the config is vouched for."""
    folder = file.resolve().parent
    if folder != FOLDER and folder not in _config_folders:
        _config_folders.append(folder)
    if trust:
        _vouched.update(_texts(config))


def own_folders() -> list[Path]:
    """Where modules of the user's own may lie: beside the config files, the working directory, on PYTHONPATH."""
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return list(dict.fromkeys([*_config_folders, Path.cwd(), *(Path(path).absolute() for path in paths)]))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        inner: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for each in inner:
            yield from _texts(each)
