"""Owner of an LR scheduler's whole state, also of what its own `state_dict` leaves out."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import paddle

from paddle_resume.differences import Difference
from paddle_resume.errors import StateError
from paddle_resume.lr.stepper import LR_SCOPE
from paddle_resume.lr.warmup import Warmup, waits_for_metric

_Scheduler = paddle.optimizer.lr.LRScheduler
# A counter name of this process, and the list of keys that the class itself saves.
_NOT_STATE = {"_var_name", "keys", "verbose"}
# What moves in Paddle's own classes besides what they save; all else in them comes from their arguments.
_MOVING = {"last_epoch", "last_lr", "T_cur", "T_i"}
_TENSOR = "__tensor__"
_ARGUMENT = "Trainer(optimizer=)"


class SchedulerState:
    """Owner of the learning rate: of a scheduler every field that moves, of a plain number the number.

    What follows from the constructor's arguments (`decay_steps`, `gamma`) is configuration: it is not restored but
    compared, and a difference is one that a resume reports. If it is accepted, the schedule that is given now holds
    from there on: one that takes the place of another is stepped to the same `last_epoch`, and holds what it would
    hold if it had been in force from the beginning. A ReduceOnPlateau keeps what it has seen of the metric, and the
    rate that it has come to unless another `learning_rate` is given.
    """

    def __init__(self, optimizer: paddle.optimizer.Optimizer) -> None:
        self._optimizer = optimizer
        self._given_rate = optimizer._learning_rate
        self._at_start = self.state_dict()

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
            if not self.differences(state):
                _restore(rate, state)
            elif state["class"] != "float":
                _restore(rate, self._at_start)
                _take_over(rate, state)
        elif state["given"] == {"value": float(self._given_rate)}:
            # A number that was changed in the config is the one wanted from here on.
            self._optimizer.set_lr(state["state"]["value"])

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return _compare("learning rate", state, self.state_dict())


def _capture(scheduler: Any) -> dict[str, Any]:
    moving = {*_MOVING, *scheduler.state_dict()}
    parameters = {*inspect.signature(type(scheduler).__init__).parameters, "base_lr"}
    is_paddles = type(scheduler).__module__ == _Scheduler.__module__
    given: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for field, value in vars(scheduler).items():
        if field in _NOT_STATE or (callable(value) and not isinstance(value, _Scheduler)):
            continue
        is_given = field not in moving and (is_paddles or field in parameters)
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


def _take_over(scheduler: Any, saved: dict[str, Any]) -> None:
    """Bring `scheduler`, which stands at its start, to where the one that was `saved` had come."""
    position = saved["state"].get("last_epoch", 0)
    if waits_for_metric(scheduler):
        _take_over_plateau(scheduler, saved)
        return
    try:
        for _ in range(position):
            scheduler.step()
    except Exception as error:
        raise StateError(
            f"The schedule {type(scheduler).__name__} cannot go on at position {position}, where the run stands: "
            f"{error}. Give it more steps, or start over with --resume none."
        ) from error


def _take_over_plateau(scheduler: Any, saved: dict[str, Any]) -> None:
    if isinstance(scheduler, Warmup):
        if saved["class"] == Warmup.__name__:
            scheduler.last_epoch, saved = saved["state"]["last_epoch"], saved["given"]["learning_rate"]
        _take_over_plateau(scheduler.learning_rate, saved)
        scheduler.last_lr = scheduler.get_lr()
        return
    if saved["class"] == Warmup.__name__:
        saved = saved["given"]["learning_rate"]
    if isinstance(saved, dict) and saved["class"] == type(scheduler).__name__:
        fresh = scheduler.last_lr
        _restore(scheduler, saved)
        if scheduler.base_lr != saved["given"]["base_lr"]:
            scheduler.last_lr = fresh


def _compare(where: str, then: dict[str, Any], now: dict[str, Any]) -> list[Difference]:
    if then["class"] != now["class"]:
        return [Difference(f"{where} scheduler", then["class"], now["class"], LR_SCOPE, _ARGUMENT)]
    found = []
    # A record of an earlier version may count as state what follows from the arguments.
    before = {**then["state"], **then["given"]}
    for field in sorted({*then["given"], *now["given"]}):
        old, new = before.get(field), {**now["state"], **now["given"]}.get(field)
        if isinstance(old, dict) and isinstance(new, dict) and "class" in old and "class" in new:
            found += _compare(f"{where} {field}", old, new)
        elif old != new:
            found.append(Difference(f"{where} {now['class']}.{field}", old, new, LR_SCOPE, _ARGUMENT))
    return found


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
