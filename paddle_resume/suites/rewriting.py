"""Has modules and a script run from their rewritten source."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from paddle_resume.errors import ConfigError
from paddle_resume.suites.source import HOOK, Source


class RewrittenModules:
    """Finds the modules that are to be run from rewritten source, and keeps what their sources tell.

    Args:
        begin: what a `for` calls.
        wanted: tells by a module's name and path whether it is one of them.
        may_hold: tells by a package's name whether one of its modules may be, where the package itself is not.
    """

    def __init__(
        self, begin: Callable[[int, Any], Any], wanted: Callable[[str, str], bool], may_hold: Callable[[str], bool]
    ) -> None:
        self._begin = begin
        self._wanted = wanted
        self._may_hold = may_hold
        self._sources: dict[str, Source] = {}
        self._libraries: set[str] = set()
        """Packages of which no module is wanted, so that nobody looks for them twice."""

    def source(self, path: str) -> Source:
        """What a source file tells; raises OSError or SyntaxError if there is no such file of Python's."""
        if path not in self._sources:
            self._sources[path] = Source(path)
        return self._sources[path]

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Part of the protocol of `sys.meta_path`."""
        top = name.partition(".")[0]
        if top in self._libraries:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return None
        if spec.origin is None or not self._wanted(name, spec.origin):
            if name == top and not self._may_hold(top):
                self._libraries.add(top)
            return None
        spec.loader = _Loader(name, spec.origin, self)
        return spec

    def run(self, path: str, module: types.ModuleType) -> None:
        """Run a source file, rewritten, as this module."""
        code = compile(self.source(path).rewritten(), path, "exec", dont_inherit=True)
        vars(module)[HOOK] = self._begin
        exec(code, vars(module))

    def run_script(self, arguments: Sequence[str]) -> None:
        """Run `SCRIPT ARGUMENTS...` or `-m MODULE ARGUMENTS...` as `python` would; raises ConfigError for none."""
        path, package = find_program(arguments)
        module = types.ModuleType("__main__")
        vars(module).update(__file__=path, __package__=package, __builtins__=__builtins__)
        sys.modules["__main__"] = module
        sys.argv = [path, *arguments[2 if package is not None else 1 :]]
        if package is None:
            sys.path[0] = str(Path(path).resolve().parent)
        elif sys.path[0] != "":
            sys.path.insert(0, str(Path.cwd()))
        self.run(path, module)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, modules: RewrittenModules) -> None:
        super().__init__(name, path)
        self._modules = modules

    def exec_module(self, module: types.ModuleType) -> None:
        self._modules.run(self.path, module)


def find_program(arguments: Sequence[str]) -> tuple[str, Optional[str]]:
    """The file to run, and for a module the package that it is in; raises ConfigError if there is none."""
    if not arguments:
        raise ConfigError("Give the command that trains after --, such as: paddle-resume wrap -- python train.py.")
    if arguments[0] != "-m":
        if not Path(arguments[0]).is_file():
            raise ConfigError(f"There is no script {arguments[0]}: give the command that trains, as you type it.")
        return arguments[0], None
    name = arguments[1] if len(arguments) > 1 else ""
    spec = importlib.util.find_spec(name) if name else None
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    if spec is None or spec.origin is None:
        raise ConfigError(f"There is no module {name or 'after -m'} to run.")
    return spec.origin, spec.parent or ""
