"""Owners of what LBFGS keeps, which is in no accumulator: its numbers, and its vectors over all parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

from paddle_resume.errors import CheckpointError
from paddle_resume.owners.model import ParameterNames
from paddle_resume.owners.optimizer import parameters_by_name
from paddle_resume.owners.tensor_views import fill, view

# LBFGS writes each entry of it before it reads it, so that it carries nothing from one step to the next.
_SCRATCH = "al"
_TENSOR = "__tensor__"
_STATE = "state"


def is_lbfgs(optimizer: paddle.optimizer.Optimizer) -> bool:
    """Whether the optimizer keeps its state as LBFGS does."""
    return isinstance(optimizer, paddle.optimizer.LBFGS)


class LBFGSNumbers:
    """Owner of what fits the record: counters, the last loss and step length, how long each list is.

    Also of the parameters' order, since the vectors of LBFGS run over all of them, one after the other. It is restored
    before LBFGSHistory, which fills in the tensors.
    """

    def __init__(self, optimizer: paddle.optimizer.Optimizer, names: ParameterNames) -> None:
        self.optimizer = optimizer
        self.parameters = parameters_by_name(optimizer, names)

    def state_dict(self) -> dict[str, Any]:
        kept = {key: value for key, value in self.optimizer.state.items() if key != _SCRATCH}
        return {"parameters": list(self.parameters), "values": {key: _outline(value) for key, value in kept.items()}}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Start from these numbers; raises CheckpointError if the parameters come in another order."""
        if state["parameters"] != list(self.parameters):
            raise CheckpointError(
                f"The checkpoint does not fit the optimizer LBFGS: it was saved over the parameters "
                f"{', '.join(state['parameters'])}, in this order, and here they are {', '.join(self.parameters)}. Use "
                "the optimizer and model that it was saved from."
            )
        self.optimizer.state.clear()
        self.optimizer.state.update(
            {key: list(value) if isinstance(value, list) else value for key, value in state["values"].items()}
        )


class LBFGSHistory:
    """Owner of the tensors of LBFGS: the direction, the last gradient, and the history of both."""

    def __init__(self, numbers: LBFGSNumbers, suffix: str = ".pdopt") -> None:
        self.suffix = suffix
        self._numbers = numbers

    def state_dict(self) -> dict[str, Any]:
        tensors = {
            name: view(value)
            for name, value in _entries(self._numbers.optimizer.state)
            if isinstance(value, paddle.Tensor)
        }
        return {_STATE: tensors} if tensors else {}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Put the tensors where LBFGSNumbers left room; raises CheckpointError listing every one that does not fit."""
        live = self._numbers.optimizer.state
        saved = {name[len(_STATE) + 1 :]: array for name, array in state.items()}
        wanted = [name for name, value in _entries(live) if value == _TENSOR]
        parameters = list(self._numbers.parameters.values())
        length = sum(int(np.prod(parameter.shape)) for parameter in parameters)
        problems = [f"{name} is missing in the file" for name in wanted if name not in saved]
        problems += [f"{name} is unknown to the optimizer" for name in saved if name not in wanted]
        problems += [
            f"{name} has shape {list(saved[name].shape)} in the file, and the parameters have {length} numbers"
            for name in wanted
            if name in saved and saved[name].size not in (1, length)
        ]
        if problems:
            live.clear()
            raise CheckpointError(
                f"The checkpoint does not fit the optimizer LBFGS: {'; '.join(problems)}. Use the optimizer and model "
                "that it was saved from."
            )
        for name in wanted:
            key, _, index = name.partition(".")
            tensor = _tensor(saved[name], parameters[0])
            if index:
                live[key][int(index)] = tensor
            else:
                live[key] = tensor


def _entries(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every single value by name, the items of a list as `old_yk.0`, `old_yk.1`."""
    for key, value in state.items():
        if key == _SCRATCH:
            continue
        if isinstance(value, list):
            yield from ((f"{key}.{i}", item) for i, item in enumerate(value))
        else:
            yield key, value


def _outline(value: Any) -> Any:
    if isinstance(value, list):
        return [_outline(item) for item in value]
    return _TENSOR if isinstance(value, paddle.Tensor) else value


def _tensor(array: np.ndarray, like: paddle.Tensor) -> paddle.Tensor:
    tensor = paddle.to_tensor(np.zeros_like(array), place=like.place)
    fill(tensor, array)
    return tensor
