"""Compares what an optimizer was built with, of which no file of Paddle's tells."""

from __future__ import annotations

from typing import Any

import paddle

# The rate is SchedulerState's, names are counters of a process.
_NOT_SETTINGS = {"_learning_rate", "_name", "type"}


class OptimizerSettings:
    """Owner of an optimizer's class, numbers and switches, gradient clipping and weight decay; never restored.

    They are read when this object is made, before the first step.
    """

    def __init__(self, optimizer: paddle.optimizer.Optimizer) -> None:
        self._settings = {"class": type(optimizer).__name__, **_plain_fields(optimizer)}
        for part in ("_grad_clip", "regularization"):
            found = getattr(optimizer, part, None)
            if found is not None and not isinstance(found, (int, float)):
                self._settings[part] = {"class": type(found).__name__, **_plain_fields(found)}

    def state_dict(self) -> dict[str, Any]:
        return self._settings

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: what differs was reported by `differences`."""

    def differences(self, state: dict[str, Any]) -> list[str]:
        now = self._settings
        keys = [key for key in dict.fromkeys([*state, *now]) if state.get(key) != now.get(key)]
        return [f"optimizer {key.lstrip('_')}: {state.get(key)} -> {now.get(key)}" for key in keys]


def _plain_fields(thing: Any) -> dict[str, Any]:
    fields = {name: value for name, value in vars(thing).items() if isinstance(value, (bool, int, float, str))}
    return {name: value for name, value in fields.items() if name not in _NOT_SETTINGS}
