"""Where a record's names are looked up: among the run's own objects and their modules, and nowhere else."""

from __future__ import annotations

import argparse
import enum
import sys
import types
from collections.abc import Collection
from typing import Any

from paddle_resume.found_state.kind import is_a
from paddle_resume.found_state.leaves import class_key
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySource
from paddle_resume.found_state.tensor_kind import TensorKind
from paddle_resume.found_state.uncaptured import is_users, module_of
from paddle_resume.found_state.walk import Walk

_FUNCTIONS_OF_PADDLE = ("paddle.nn.functional", "paddle.tensor")
# Of which an object is made by filling in plain values: what a callback puts into an optimizer or a model.
_CLASSES_OF_PADDLE = ("paddle.nn.", "paddle.optimizer.", "paddle.regularizer", "paddle.metric.")
_MOST_LETTERS = 500
_ALWAYS: tuple[type, ...] = (object, types.SimpleNamespace, argparse.Namespace)


class Known:
    """The classes, functions and parameters of a run, by name. Nothing is imported, and no attribute is asked for."""

    def __init__(self, walk: Walk, source: ArraySource, without: Collection[str] = ()) -> None:
        self.source = source
        self._without = without
        self._started: dict[str, Node] = {node.path: node for node in walk.started()}
        self._classes = {class_key(cls): cls for cls in _ALWAYS}
        self._modules: dict[str, Any] = {}
        for node in self._started.values():
            self._learn(type(node.thing))
            if type(node.thing) is types.FunctionType and is_users(node.thing.__module__ or ""):
                self._modules.setdefault(node.thing.__module__, sys.modules[node.thing.__module__])
            for value in (*node.values, *(node.labels or ())):
                if is_a(value, (type, enum.Enum)):
                    self._learn(value if is_a(value, type) else type(value))
                elif type(value) is types.ModuleType:
                    self._modules[value.__name__] = value

    def find_class(self, key: Any) -> type:
        """The class of this key: of the run's objects, of their modules, or of Paddle's layers and optimizers.

        Raises Problem for any other.
        """
        if type(key) is str and key in self._classes:
            return self._classes[key]
        found = self._find_in_module(key, _CLASSES_OF_PADDLE)
        if not is_a(found, type) or class_key(found) != key:
            raise Problem(f"the class {str(key)[:_MOST_LETTERS]!r} is none of the run's objects and of their modules")
        return found

    def find_function(self, key: Any) -> types.FunctionType:
        """A function of a module of the user's, or one of Paddle's that only compute; raises Problem for any other."""
        found = self._find_in_module(key, _FUNCTIONS_OF_PADDLE)
        if type(found) is not types.FunctionType or function_key(found) != key:
            raise Problem(f"the function {str(key)[:_MOST_LETTERS]!r} is in none of the modules of the run's objects")
        return found

    def find_module(self, name: Any) -> types.ModuleType:
        """A module that the run refers to; raises Problem for any other."""
        if type(name) is not str or name not in self._modules:
            raise Problem(f"the run refers to no module {str(name)[:_MOST_LETTERS]!r}")
        return self._modules[name]

    def name_of(self, path: Any) -> str:
        """The name that Paddle has given the parameter at this path; raises Problem if there is none."""
        node = self.at(path)
        if not isinstance(node.kind, TensorKind):
            raise Problem(f"{path} is no parameter")
        return node.thing.name

    def is_left_out(self, path: Any) -> bool:
        """Whether what was at this path is not there any more, and is not to be put back."""
        return type(path) is str and is_below(path, self._without)

    def at(self, path: Any) -> Node:
        """The node that was at this path at the start; raises Problem if there was none."""
        if type(path) is not str or path not in self._started:
            raise Problem(f"there is nothing at {str(path)[:_MOST_LETTERS]} here")
        return self._started[path]

    def _learn(self, cls: type) -> None:
        self._classes.setdefault(class_key(cls), cls)
        if is_users(module_of(cls)):
            self._modules.setdefault(cls.__module__, sys.modules[cls.__module__])

    def _find_in_module(self, key: Any, others: tuple[str, ...] = ()) -> Any:
        module, _, name = key.partition(":") if type(key) is str and len(key) <= _MOST_LETTERS else ("", "", "")
        found = self._modules.get(module) if is_users(module) else None
        if found is None and module.startswith(others or ("\0",)):
            found = sys.modules.get(module)
        for part in name.split("."):
            inside = vars(found) if is_a(found, (types.ModuleType, type)) else {}
            found = inside.get(part)
        return found


def is_below(path: str, places: Collection[str]) -> bool:
    """Whether a path leads through one of these places, or is one."""
    if not places:
        return False
    return path in places or any(path.startswith(place) and path[len(place)] in ".[" for place in places)


def function_key(function: types.FunctionType) -> str:
    """How a record names a function of a module."""
    return f"{function.__module__}:{function.__qualname__}"


def parameter_names(walk: Walk) -> dict[str, str]:
    """Paddle's names of the parameters, each with the path at which it was found at the start."""
    found: dict[str, str] = {}
    for node in walk.started():
        if isinstance(node.kind, TensorKind) and node.kind.is_parameter:
            found.setdefault(node.thing.name, node.path)
    return found
