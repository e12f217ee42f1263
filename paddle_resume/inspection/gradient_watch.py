"""Sees the gradients that an optimizer is about to use; afterwards they are cleared and gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import paddle

from paddle_resume.owners.optimizer import parameters_of


class GradientWatch:
    """Calls `on_gradient` with the name and the gradient of each parameter before each step of an optimizer.

    `names` are those of the parameters that are watched, by the id of each.
    """

    def __init__(
        self, optimizer: Any, names: Mapping[int, str], on_gradient: Callable[[str, paddle.Tensor], None]
    ) -> None:
        self._optimizer, self._names, self._on_gradient = optimizer, names, on_gradient
        self._open = True
        self._before = vars(optimizer).get("step")
        self._step = optimizer.step
        optimizer.step = self._noting

    def close(self) -> None:
        """See no more."""
        self._open = False
        # Two watches of one optimizer may be closed in any order; what a user had put there comes back.
        top = vars(self._optimizer).get("step")
        while isinstance(watch := getattr(top, "__self__", None), GradientWatch) and not watch._open:
            top = watch._before
        if top is None:
            vars(self._optimizer).pop("step", None)
        else:
            self._optimizer.step = top

    def _noting(self, *args: Any, **options: Any) -> Any:
        for parameter in parameters_of(self._optimizer):
            name = self._names.get(id(parameter))
            if name is not None and parameter.grad is not None:
                self._on_gradient(name, parameter.grad)
        return self._step(*args, **options)
