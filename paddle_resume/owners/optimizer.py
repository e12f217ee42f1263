"""Owner of an optimizer's state, bound to parameters by structured name and not by Paddle's counter names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddle.base.layer_helper import LayerHelper

from paddle_resume.errors import CheckpointError, StateError
from paddle_resume.owners.model import ParameterNames
from paddle_resume.owners.tensor_views import KeptViews, fill

_MASTER = "master_weights"
# What Paddle puts between the parameter's name and the slot where the state belongs to the master weight.
_OF_MASTER = "fp32_master_0_"


class OptimizerState:
    """Owner of an optimizer's accumulators and master weights; its file is the `.pdopt` that Paddle's users know.

    Keys in the file are Paddle's own (`conv2d_0.w_0_moment1_0`), so stock Paddle can load it. On the way back
    they are split by the table of ParameterNames and handed to the parameter of the same structured name.
    """

    def __init__(self, optimizer: paddle.optimizer.Optimizer, names: ParameterNames, suffix: str = ".pdopt") -> None:
        self.suffix = suffix
        self._optimizer = optimizer
        self._names = names
        self._parameters = parameters_by_name(optimizer, names)
        self._views, self._views_of_master = KeptViews(), KeptViews()
        self._complete: int | None = None  # so many tensors were found to be all that there are

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        master: dict[str, Any] = {}
        for structured, slot, tensor in self.tensors():
            prefix = self._names.in_files(structured)
            if slot == _MASTER:
                master[prefix] = tensor
            else:
                state[f"{prefix}_{slot}_0"] = tensor
        self._require_complete(len(state) + len(master))
        arrays: dict[str, Any] = dict(self._views.of(state))
        if master:
            arrays[_MASTER] = self._views_of_master.of(master)
        scheduler = self._optimizer._learning_rate
        if isinstance(scheduler, paddle.optimizer.lr.LRScheduler):
            arrays["LR_Scheduler"] = {key: _number(value) for key, value in scheduler.state_dict().items()}
        return arrays

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Fill the optimizer from arrays; raises CheckpointError listing every entry that does not fit."""
        by_prefix = {self._names.in_files(structured): structured for structured in self._parameters}
        saved = {self._split(key, by_prefix): array for key, array in state.items()}
        self.create_accumulators({structured for structured, _ in saved})
        live = {(structured, slot): tensor for structured, slot, tensor in self.tensors()}
        problems = [f"{_show(key)} is missing in the file" for key in live if key not in saved]
        problems += [f"{_show(key)} is unknown to the optimizer" for key in saved if key not in live]
        problems += [
            f"{_show(key)} has shape {list(saved[key].shape)} in the file and {list(tensor.shape)} here"
            for key, tensor in live.items()
            if key in saved and list(saved[key].shape) != list(tensor.shape)
        ]
        if problems:
            raise CheckpointError(
                f"The checkpoint does not fit the optimizer {type(self._optimizer).__name__}: "
                f"{'; '.join(problems)}. Use the optimizer and model that it was saved from."
            )
        for key, tensor in live.items():
            fill(tensor, saved[key])

    def tensors(self) -> Iterator[tuple[str, str, paddle.Tensor]]:
        """Every tensor as (structured name, slot, tensor), in the order of the model's parameters."""
        for structured, parameter in self._parameters.items():
            master = self._optimizer._master_weights.get(parameter.name)
            for slot, by_parameter in self._optimizer._accumulators.items():
                if parameter.name in by_parameter:
                    yield structured, slot, by_parameter[parameter.name]
                elif master is not None and master.name in by_parameter:
                    yield structured, f"{_OF_MASTER}{slot}", by_parameter[master.name]
            if master is not None:
                yield structured, _MASTER, master

    def create_accumulators(self, structured: set[str]) -> None:
        """Let the optimizer create the state of these parameters now, and not at their first gradient.

        Paddle creates it lazily, and until then would report, and save, an optimizer without state.
        """
        unknown = structured - set(self._parameters)
        wanted = [p for name, p in self._parameters.items() if name in structured - unknown]
        if wanted:
            if self._optimizer.helper is None:
                # Paddle 2.6 makes its helper only in the first step().
                self._optimizer.helper = LayerHelper(type(self._optimizer).__name__)
            block = paddle.static.default_main_program().global_block()
            self._optimizer._create_accumulators(block, wanted)

    def _split(self, key: str, by_prefix: dict[str, str]) -> tuple[str, str]:
        """(structured name, slot) of a key in the file."""
        if key.startswith(f"{_MASTER}/"):
            prefix = key[len(_MASTER) + 1 :]
            return by_prefix.get(prefix, prefix), _MASTER
        # Longest prefix first: `linear_1.w_0_moment1_0` also begins with a parameter called `linear_1.w`.
        for cut in sorted((i for i, letter in enumerate(key) if letter == "_"), reverse=True):
            if key[:cut] in by_prefix:
                return by_prefix[key[:cut]], key[cut + 1 : -2]
        return key, "(no such parameter)"

    def _require_complete(self, captured: int) -> None:
        if captured == self._complete:
            return
        known = self._optimizer.state_dict()
        expected = sum(isinstance(v, (paddle.Tensor, np.ndarray)) for v in known.values())
        expected += len(known.get(_MASTER, ()))
        if captured != expected:
            raise StateError(
                f"The optimizer {type(self._optimizer).__name__} holds {expected} tensors, but only {captured} of "
                "them belong to parameters of the model; the others could not be restored by name."
            )
        self._complete = captured


def parameters_by_name(optimizer: paddle.optimizer.Optimizer, names: ParameterNames) -> dict[str, paddle.Tensor]:
    """The optimizer's parameters by structured name, in its order.

    Raises StateError for one that is not the model's.
    """
    found = {}
    for parameter in parameters_of(optimizer):
        name = names.structured(parameter)
        if name is None:
            raise StateError(
                f"The optimizer {type(optimizer).__name__} updates {parameter.name!r} (shape "
                f"{list(parameter.shape)}), which is no parameter of the model, so its state cannot be saved by "
                "name. Build the optimizer from this model's parameters()."
            )
        found[name] = parameter
    return found


def _number(value: Any) -> Any:
    # ReduceOnPlateau keeps the metric as it was given: an array of one number, perhaps.
    return value.item() if isinstance(value, (np.ndarray, paddle.Tensor)) and value.size == 1 else value


def _show(key: tuple[str, str]) -> str:
    return f"{key[0]} {key[1]}"


def parameters_of(optimizer: paddle.optimizer.Optimizer) -> Iterator[paddle.Tensor]:
    """Every parameter that the optimizer updates, through its groups."""
    for entry in optimizer._parameter_list or []:
        yield from entry["params"] if isinstance(entry, dict) else [entry]
