"""Paddle's advice on the number of threads, kept back where it is this package that has chosen the number."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional

_NAME = "OMP_NUM_THREADS"


@contextlib.contextmanager
def without_thread_advice() -> Iterator[None]:
    """What is printed inside goes to stderr at the end, without the lines in which Paddle speaks of that variable."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    finally:
        for line in said.getvalue().splitlines():
            if _NAME not in line:
                print(line, file=sys.stderr)


def import_paddle_without_thread_advice() -> None:
    """From here on, whoever imports Paddle first; this does not import it."""
    sys.meta_path.insert(0, _Once())


class _Once(MetaPathFinder):
    """Finds Paddle as the others do, and has it run without its advice; after that it is gone."""

    def find_spec(self, name: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None) -> Any:
        if name != "paddle":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            _quieten(spec)
        return spec


def _quieten(spec: ModuleSpec) -> None:
    loader: Any = spec.loader
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module  # a loader like any other again
        with without_thread_advice():
            run(module)

    loader.exec_module = exec_module
