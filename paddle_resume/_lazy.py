"""Names of a package that are loaded when they are first used, so that importing it stays quick."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of `package`, in which each name comes from the module below it that `homes` gives."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with _without_collections():
            module = importlib.import_module(f"{package}.{homes[name]}")
        return getattr(module, name)

    return load


@contextmanager
def _without_collections() -> Iterator[None]:
    """A collection while some hundred modules are loaded goes through all that Paddle has made, and finds nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
