"""Owner of what moves in an object that has no state methods, such as Paddle's callbacks and metrics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import paddle

from paddle_resume.checkpoint.record import encode_state
from paddle_resume.differences import Difference
from paddle_resume.owners.tensor_views import fill

_SCALAR, _TENSOR = "__scalar__", "__tensor__"


class MovingFields:
    """Owner of those plain attributes of `thing` that have changed since this owner was made.

    Plain are numbers, strings, None, arrays, tensors, and lists and dicts of such. What has not moved follows from how
    the object was built, so it is left as it is: a folder may be another after a resume.

    Args:
        thing: the object.
        label: how an error calls it.
        compared: attributes of which a resume reports that they were built otherwise.
        ignored: attributes that are no state.
    """

    def __init__(self, thing: Any, label: str, compared: Collection[str] = (), ignored: Collection[str] = ()) -> None:
        self._thing = thing
        self._label = label
        self._ignored = frozenset(ignored)
        found = self._found()
        self._at_start = {name: encode_state(label, value) for name, value in found.items()}
        self._given = {name: found[name] for name in compared if name in found}

    def state_dict(self) -> dict[str, Any]:
        found = self._found()
        moved = {name: v for name, v in found.items() if encode_state(self._label, v) != self._at_start.get(name)}
        return {"given": self._given, "state": moved}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state["state"].items():
            now = getattr(self._thing, name, None)
            if isinstance(now, paddle.Tensor) and _TENSOR in value and list(now.shape) == list(value[_TENSOR].shape):
                fill(now, value[_TENSOR])  # in place, since others may refer to it
            else:
                live = thawed(value)
                setattr(self._thing, name, tuple(live) if isinstance(now, tuple) else live)

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return changes(self._label, state["given"], self._given)

    def _found(self) -> dict[str, Any]:
        fields = vars(self._thing).items()
        return {name: frozen(value) for name, value in fields if name not in self._ignored and _is_plain(value)}


def changes(label: str, before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    """What is another value now, as `frozen` gives them."""
    texts = [{key: encode_state(label, value) for key, value in side.items()} for side in (before, after)]
    keys = [key for key in dict.fromkeys([*before, *after]) if texts[0].get(key) != texts[1].get(key)]
    return [Difference(f"{label} {key}", before.get(key), after.get(key)) for key in keys]


def frozen(value: Any) -> Any:
    """A plain value as a record can hold it: `thawed` gives it back in its own types, but tuples as lists."""
    if isinstance(value, paddle.Tensor):
        return {_TENSOR: value.numpy()}
    if isinstance(value, np.generic):
        # float32 sums up otherwise than a Python float.
        return {_SCALAR: np.asarray(value)}
    if isinstance(value, (list, tuple)):
        return [frozen(item) for item in value]
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value


def thawed(value: Any) -> Any:
    """The value that `frozen` was given."""
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return paddle.to_tensor(value[_TENSOR])
        if set(value) == {_SCALAR}:
            return value[_SCALAR][()]
        return {key: thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, list) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return value is None or isinstance(value, (bool, int, float, str, np.generic, paddle.Tensor))
