"""Owner of a model's parameters and buffers, and of the names under which files know them."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from paddle_resume.errors import CheckpointError
from paddle_resume.owners.tensor_views import KeptViews, fill, view

# Paddle's own key: structured name -> parameter name, so that any reader can rebind a `.pdopt`.
NAME_TABLE = "StructuredToParameterName@@"


class ParameterNames:
    """Owner of the table structured name (`conv1.weight`) -> parameter name in files (`conv2d_0.w_0`).

    Paddle's parameter names come from a process-wide counter, so a second model in one process has others.
    Files keep the names of the process that started the run: they stay the same, byte for byte.
    """

    def __init__(self, model: paddle.nn.Layer) -> None:
        self._in_files = {structured: tensor.name for structured, tensor in model.state_dict().items()}
        # Tied parameters have several structured names; the first one stands for the tensor.
        self._structured: dict[str, str] = {}
        for structured, name in self._in_files.items():
            self._structured.setdefault(name, structured)

    def structured(self, parameter: paddle.Tensor) -> str | None:
        """The structured name of a live parameter, or None if it is not the model's."""
        return self._structured.get(parameter.name)

    def in_files(self, structured: str) -> str:
        return self._in_files[structured]

    def state_dict(self) -> dict[str, Any]:
        return dict(self._in_files)

    def set_state_dict(self, state: dict[str, Any]) -> None:
        # Names that this model lacks are ModelState's to report, with all else that does not fit.
        self._in_files.update({name: value for name, value in state.items() if name in self._in_files})


class ModelState:
    """Owner of a model's parameters and buffers; its file is the `.pdparams` that Paddle's users know."""

    suffix = ".pdparams"

    def __init__(self, model: paddle.nn.Layer, names: ParameterNames | None = None) -> None:
        self._model = model
        self._names = names or ParameterNames(model)
        self._views = KeptViews()

    def state_dict(self) -> dict[str, Any]:
        return {**self._views.of(self._model.state_dict()), NAME_TABLE: self._names.state_dict()}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Fill the model from arrays; raises CheckpointError listing every name and shape that does not fit."""
        load_weights(self._model, state)


class BufferState:
    """Owner of the buffers that a model keeps out of its `state_dict` (`persistable=False`), if it has any.

    Paddle's users do not expect them in a `.pdparams`, but what a run has put into them decides how it goes on.
    """

    suffix = ".pdbuffers"

    def __init__(self, model: paddle.nn.Layer) -> None:
        self._model = model
        self._views = KeptViews()

    def tensors(self) -> dict[str, paddle.Tensor]:
        """Those that there are now and that hold anything: an LSTM has one without memory until a GPU needs it."""
        known = self._model.state_dict()
        found = {name: buffer for name, buffer in self._model.named_buffers() if name not in known}
        return {name: buffer for name, buffer in found.items() if buffer._is_initialized()}

    def state_dict(self) -> dict[str, Any]:
        return self._views.of(self.tensors())

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Fill the buffers; raises CheckpointError listing every name and shape that does not fit."""
        fill_all(self.tensors(), state, "The checkpoint", "the model's non-persistable buffers")


def match_weights(model: paddle.nn.Layer, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """By structured name, in the model's order: an empty text where the array fits, else why it cannot be loaded."""
    live = model.state_dict()
    found = dict.fromkeys(live, "missing in the file")
    for name, array in arrays.items():
        problem = _mismatch(name, live[name], array) if name in live else [f"{name} unknown to the model"]
        found[name] = problem[0][len(name) + 1 :] if problem else ""
    return found


def load_matching(model: paddle.nn.Layer, arrays: dict[str, np.ndarray]) -> None:
    """Fill those parameters and buffers of `model` that an array fits by name, shape and dtype; leave the others."""
    live = model.state_dict()
    for name, problem in match_weights(model, arrays).items():
        if not problem:
            fill(live[name], arrays[name])


def load_weights(
    model: paddle.nn.Layer, arrays: dict[str, np.ndarray], source: str = "The checkpoint", hint: str = ""
) -> None:
    """Fill every parameter and buffer of `model`; raises CheckpointError listing all that does not fit."""
    fill_all(model.state_dict(), arrays, source, f"the model {type(model).__name__}", hint)


def fill_all(
    live: dict[str, paddle.Tensor], arrays: dict[str, np.ndarray], source: str, target: str, hint: str = ""
) -> None:
    problems = [f"{name} is missing in the file" for name in live if name not in arrays]
    problems += [f"{name} is unknown to the model" for name in arrays if name not in live]
    for name, tensor in live.items():
        if name in arrays:
            problems += _mismatch(name, tensor, arrays[name])
    if problems:
        raise CheckpointError(
            f"{source} does not fit {target}: {'; '.join(problems)}. "
            f"Use the model that it was saved from, or another checkpoint. Nothing was changed.{hint}"
        )
    for name, tensor in live.items():
        fill(tensor, arrays[name])


def _mismatch(name: str, tensor: paddle.Tensor, array: np.ndarray) -> list[str]:
    if list(tensor.shape) != list(array.shape):
        return [f"{name} has shape {list(array.shape)} in the file and {list(tensor.shape)} in the model"]
    expected = view(tensor).dtype
    if expected != array.dtype:
        return [f"{name} has dtype {array.dtype} in the file and {expected} in the model"]
    return []
