"""Owner of an LR scheduler's whole state, also of what its own `state_dict` leaves out."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import paddle

from paddle_resume.errors import StateError

_Scheduler = paddle.optimizer.lr.LRScheduler
# A counter name of this process, and the list of keys that the class itself saves.
_NOT_STATE = {"_var_name", "keys", "verbose"}
_TENSOR = "__tensor__"


class SchedulerState:
    """Owner of the learning rate: of a scheduler every field that moves, of a plain number the number.

    What the constructor was given (`decay_steps`, `gamma`) is configuration: it is not restored but compared, and
    a difference is one that a resume reports.
    """

    def __init__(self, optimizer: paddle.optimizer.Optimizer) -> None:
        self._optimizer = optimizer
        self._given_rate = optimizer._learning_rate

    def state_dict(self) -> dict[str, Any]:
        rate = self._optimizer._learning_rate
        if not isinstance(rate, _Scheduler):
            return {
                "class": "float",
                "given": {"value": float(self._given_rate)},
                "state": {"value": float(rate)},
            }
        return _capture(rate)

    def set_state_dict(self, state: dict[str, Any]) -> None:
        rate = self._optimizer._learning_rate
        if isinstance(rate, _Scheduler):
            _restore(rate, state)
        elif state["given"] == {"value": float(self._given_rate)}:
            # A number that was changed in the config is the one wanted from here on.
            self._optimizer.set_lr(state["state"]["value"])

    def differences(self, state: dict[str, Any]) -> list[str]:
        return _compare("learning rate", state, self.state_dict())


def _capture(scheduler: Any) -> dict[str, Any]:
    moving = {"last_epoch", *scheduler.state_dict()}
    given_names = set(inspect.signature(type(scheduler).__init__).parameters) | {"base_lr"}
    given: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for field, value in vars(scheduler).items():
        if field in _NOT_STATE or (callable(value) and not isinstance(value, _Scheduler)):
            continue
        is_given = field in given_names and field not in moving
        if isinstance(value, _Scheduler):
            (given if is_given else state)[field] = _capture(value)
        elif is_given:
            given[field] = _plain(scheduler, field, value)
        else:
            state[field] = _exact(scheduler, field, value)
    return {"class": type(scheduler).__name__, "given": given, "state": state}


def _restore(scheduler: Any, saved: dict[str, Any]) -> None:
    for field, value in {**saved["given"], **saved["state"]}.items():
        current = getattr(scheduler, field, None)
        if isinstance(current, _Scheduler):
            _restore(current, value)
        elif field in saved["state"]:
            setattr(scheduler, field, _live(value))


def _compare(where: str, then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if then["class"] != now["class"]:
        return [f"{where} scheduler: {then['class']} -> {now['class']}"]
    lines = []
    for field in sorted({*then["given"], *now["given"]}):
        old, new = then["given"].get(field), now["given"].get(field)
        if isinstance(old, dict) and isinstance(new, dict) and "class" in old and "class" in new:
            lines += _compare(f"{where} {field}", old, new)
        elif old != new:
            lines.append(f"{where} {now['class']}.{field}: {old} -> {new}")
    return lines


def _exact(scheduler: Any, field: str, value: Any) -> Any:
    """The value so that `_live` gives it back in its own type: float32 compares otherwise than a Python float."""
    if isinstance(value, paddle.Tensor):
        return {_TENSOR: value.numpy()}
    if isinstance(value, np.generic):
        return np.asarray(value)
    return value if isinstance(value, np.ndarray) else _plain(scheduler, field, value)


def _live(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {_TENSOR}:
        return paddle.to_tensor(value[_TENSOR])
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _plain(scheduler: Any, field: str, value: Any) -> Any:
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, paddle.Tensor):
        return value.numpy().tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(scheduler, field, v) for v in value if not callable(v)]
    if isinstance(value, dict):
        return {str(k): _plain(scheduler, field, v) for k, v in value.items() if not callable(v)}
    raise StateError(
        f"The scheduler {type(scheduler).__name__} holds {field!r} of type {type(value).__name__}, which cannot be "
        "saved. Keep numbers, strings, lists and dicts in it."
    )
