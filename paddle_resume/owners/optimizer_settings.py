"""Compares what an optimizer was built with, of which no file of Paddle's tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from paddle_resume.differences import ConfigScope, Difference
from paddle_resume.owners.model import ParameterNames
from paddle_resume.owners.optimizer import parameters_by_name

# The rate is SchedulerState's, names are counters of a process, and Rprop notes whether it made a step.
_NOT_SETTINGS = {"_learning_rate", "_name", "type", "_sign"}
# Rprop turns these pairs of numbers into tensors in its first step.
_PAIRS = ("_learning_rate_range", "_etas")
_OF_PARAMETERS = "parameters"
_SHOWN = 3
_SCOPE = ConfigScope(("optimizer",), without=("optimizer.lr",))


class OptimizerSettings:
    """Owner of an optimizer's class, numbers, clipping, weight decay and parameter groups; never restored."""

    def __init__(self, optimizer: paddle.optimizer.Optimizer, names: ParameterNames) -> None:
        self._settings = {"class": type(optimizer).__name__, **_plain_fields(optimizer)}
        self._settings.update(_pairs(optimizer))
        for part in ("_grad_clip", "regularization"):
            found = getattr(optimizer, part, None)
            if found is not None and not isinstance(found, (int, float)):
                inner = getattr(found, "clip", None)  # of a ClipAcrossGroups
                self._settings[part] = {"class": type(found).__name__, **_plain_fields(found)}
                if inner is not None:
                    self._settings[part]["clip"] = {"class": type(inner).__name__, **_plain_fields(inner)}
        self._settings[_OF_PARAMETERS] = _of_parameters(optimizer, names)

    def state_dict(self) -> dict[str, Any]:
        return self._settings

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        now = self._settings
        keys = [key for key in dict.fromkeys([*state, *now]) if key not in _PAIRS or (key in state and key in now)]
        found = [
            Difference(f"optimizer {key.lstrip('_')}", state.get(key), now.get(key), _SCOPE, "Trainer(optimizer=)")
            for key in keys
            if key != _OF_PARAMETERS and state.get(key) != now.get(key)
        ]
        if _OF_PARAMETERS not in state:  # as the first versions wrote it
            return found
        before, after = state[_OF_PARAMETERS], now[_OF_PARAMETERS]
        return found + [
            Difference(f"optimizer parameters with {what}", before.get(what), after.get(what), _SCOPE, spelled=_listed)
            for what in dict.fromkeys([*before, *after])
            if before.get(what) != after.get(what)
        ]


def _plain_fields(thing: Any) -> dict[str, Any]:
    # A step leaves in the fields what its last parameter group says; here is what the optimizer was built with.
    built_with = getattr(thing, "_default_dict", {})
    fields = {name: built_with.get(name.lstrip("_"), value) for name, value in vars(thing).items()}
    return {
        name: value
        for name, value in fields.items()
        if isinstance(value, (bool, int, float, str)) and name not in _NOT_SETTINGS
    }


def _pairs(optimizer: paddle.optimizer.Optimizer) -> dict[str, list[float]]:
    """The pairs of numbers, as far as they can still be told: in half precision a step has rounded them."""
    found = {name: getattr(optimizer, name) for name in _PAIRS if hasattr(optimizer, name)}
    arrays = {name: np.asarray(value) for name, value in found.items()}
    return {name: array.astype(np.float32).reshape(-1).tolist() for name, array in arrays.items() if array.itemsize > 2}


def _of_parameters(optimizer: paddle.optimizer.Optimizer, names: ParameterNames) -> dict[str, list[str]]:
    """What is set for parameters by themselves, each time with the structured names of those it is set for."""
    options: dict[str, str] = {}
    for group in optimizer._param_groups or []:
        if isinstance(group, dict):
            numbers = {k: v for k, v in group.items() if isinstance(v, (bool, int, float)) and k != "learning_rate"}
            text = ", ".join(f"{name} {value}" for name, value in numbers.items())
            options.update({parameter.name: text for parameter in group["params"]})
    found: dict[str, list[str]] = {}
    for structured, parameter in parameters_by_name(optimizer, names).items():
        scale = getattr(parameter, "optimize_attr", {}).get("learning_rate", 1.0)
        regularizer: Any = getattr(parameter, "regularizer", None)
        parts = [options.get(parameter.name, "")]
        parts += [f"learning rate x {scale}"] if scale != 1.0 else []
        parts += [f"{type(regularizer).__name__} {regularizer._coeff}"] if hasattr(regularizer, "_coeff") else []
        if any(parts):
            found.setdefault(", ".join(filter(None, parts)), []).append(structured)
    return found


def _listed(names: list[str] | None) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
