"""Owners of the gradients that a save finds: which parameters have one, and those that are not zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from paddle_resume.errors import CheckpointError, StateError
from paddle_resume.owners.named_parameters import named_parameters
from paddle_resume.owners.tensor_views import fill, is_zero, views


class LeftGradients:
    """Owner of gradients that no optimizer has used yet, such as those of a half accumulated step.

    They have a file if there are any. It is restored before GradientState, which puts them in place.
    """

    suffix = ".pdgrad"
    may_be_absent = True

    def __init__(self, model: paddle.nn.Layer) -> None:
        self._model = model
        self._restored: Mapping[str, np.ndarray] = {}

    def state_dict(self) -> dict[str, Any]:
        """By the parameter's structured name; raises StateError for those that cannot be saved."""
        given = {name: p.grad for name, p in named_parameters(self._model).items()}
        rows, filled = [], {}
        for name, gradient in given.items():
            if gradient is None:
                continue
            if gradient.is_selected_rows():
                rows += [name] if gradient.rows() else []
            elif not is_zero(gradient):
                filled[name] = gradient
        left = views(filled)
        if rows or (left and paddle.distributed.get_world_size() > 1):
            raise StateError(
                f"A save found gradients that no optimizer has used, of {', '.join([*rows, *left][:3])}, and they "
                f"{'are sparse' if rows else 'belong to this process alone'}, so that they cannot be saved. Call "
                "optimizer.step() and clear_grad() in each train_step, or save only after those that do."
            )
        return left

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Keep the arrays until GradientState takes them."""
        self._restored = state

    def take(self) -> Mapping[str, np.ndarray]:
        """What was restored last, and not taken yet."""
        given, self._restored = self._restored, {}
        return given


class GradientState:
    """Owner of which parameters have a gradient at all, if only one of zeros.

    An optimizer passes over a parameter without one. It moves a parameter whose gradient is zero, as `clear_grad`
    leaves it, by momentum and weight decay, also in steps that do not use the parameter.
    """

    may_be_absent = True

    def __init__(self, model: paddle.nn.Layer, left: LeftGradients) -> None:
        self._model = model
        self._left = left

    def state_dict(self) -> dict[str, Any]:
        """`otherwise`: the parameters that are trained and have none, or are not and have one."""
        parameters = named_parameters(self._model).items()
        return {"otherwise": [name for name, p in parameters if _has_gradient(p) is p.stop_gradient]}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError for gradients that do not fit."""
        left, otherwise = self._left.take(), set(state["otherwise"])
        for name, parameter in named_parameters(self._model).items():
            if parameter.stop_gradient is not (name in otherwise):
                parameter.clear_gradient(False)
                continue
            if name in left and list(left[name].shape) != list(parameter.shape):
                raise CheckpointError(
                    f"The gradient of {name} has shape {list(left[name].shape)} in the file and {parameter.shape} in "
                    "the model. Use the model that it was saved from, or another checkpoint."
                )
            parameter.grad = paddle.zeros(parameter.shape, parameter.dtype)
            if name in left:
                fill(parameter.grad, left[name])


def _has_gradient(parameter: paddle.Tensor) -> bool:
    gradient = parameter.grad
    return gradient is not None and not gradient.is_selected_rows()
