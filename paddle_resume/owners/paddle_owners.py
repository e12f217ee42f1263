"""The owners of a model and its optimizers, in the order in which they are restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle_resume.owners.gradients import GradientState, LeftGradients
from paddle_resume.owners.lbfgs import LBFGSHistory, LBFGSNumbers, is_lbfgs
from paddle_resume.owners.model import BufferState, ModelState, ParameterNames
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.optimizer_settings import OptimizerSettings
from paddle_resume.owners.scheduler import SchedulerState


def paddle_owners(model: Any, optimizers: Mapping[str, Any]) -> dict[str, Any]:
    """The owners for a model and its optimizers by name, in the order in which they are restored.

    The name "" stands for the only optimizer; any other one adds `.<name>` to its owners and its file.
    """
    names = ParameterNames(model)
    owners: dict[str, Any] = {"names": names, "model": ModelState(model, names)}
    buffers = BufferState(model)
    if buffers.tensors():
        owners["buffers"] = buffers
    for name, optimizer in optimizers.items():
        label = f".{name}" if name else ""
        if is_lbfgs(optimizer):
            numbers = LBFGSNumbers(optimizer, names)
            owners[f"numbers{label}"] = numbers
            owners[f"optimizer{label}"] = LBFGSHistory(numbers, f"{label}.pdopt")
        else:
            owners[f"optimizer{label}"] = OptimizerState(optimizer, names, f"{label}.pdopt")
        owners[f"scheduler{label}"] = SchedulerState(optimizer)
        owners[f"settings{label}"] = OptimizerSettings(optimizer, names)
    left = LeftGradients(model)
    return {**owners, "gradients.left": left, "gradients": GradientState(model, left)}
