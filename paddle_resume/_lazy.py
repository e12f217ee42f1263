"""Names of a package that are loaded when they are first used, so that importing it stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Callable


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of `package`, in which each name comes from the module below it that `homes` gives."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return load
