"""Owner of an LR scheduler's whole state, also of what its own `state_dict` leaves out."""

from __future__ import annotations

import copy
import inspect
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.differences import Difference
from paddle_resume.errors import StateError
from paddle_resume.lr.stepper import LR_SCOPE
from paddle_resume.lr.warmup import Warmup, waits_for_metric
from paddle_resume.lr.ways import HELD_AT, HELD_MOVES, HOLD, REPLAN, RESTART, end_of, held_moves, hold, is_held

_Scheduler = paddle.optimizer.lr.LRScheduler
# A counter name of this process, and the list of keys that the class itself saves.
_NOT_STATE = {"_var_name", "keys", "verbose", HELD_AT, HELD_MOVES}
# What moves in Paddle's own classes besides what they save; all else in them comes from their arguments.
_MOVING = {"last_epoch", "last_lr", "T_cur", "T_i"}
_TENSOR = "__tensor__"


class SchedulerState:
    """Owner of the learning rate: of a scheduler every field that moves, of a plain number the number.

    What follows from the constructor's arguments (`decay_steps`, `gamma`) is configuration: it is not restored but
    compared, and a difference is one that a resume reports. If it is accepted, `on_change` says what becomes of it:
    with `replan` the schedule that is given now is stepped to the same `last_epoch`, and holds what it would hold if it
    had been in force from the beginning; with `restart` it begins; with `hold` the old one goes on to its end, and its
    last rate stays. The last two are recorded with the schedule that was given then, so that they go on as long as that
    is given. A ReduceOnPlateau keeps what it has seen of the metric, and the
    rate that it has come to unless another `learning_rate` is given.
    """

    def __init__(self, optimizer: paddle.optimizer.Optimizer) -> None:
        self._optimizer = optimizer
        self._given_rate = optimizer._learning_rate
        self._plan: Optional[dict[str, Any]] = None
        self.is_changed = False
        """Whether the rate that was put back last is another than that of the checkpoint would have been."""
        self.on_change = REPLAN
        """The way in which the rate goes on where the schedule that is given is another, one of `lr.ways`."""
        self._at_start = self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        rate = self._optimizer._learning_rate
        if not isinstance(rate, _Scheduler):
            return {
                "class": "float",
                "given": {"value": float(self._given_rate)},
                "state": {"value": float(rate)},
            }
        if self._plan is None:
            return _capture(rate)
        return {**_capture(rate), "plan": {**self._plan, "held": held_moves(rate)}}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        rate = self._optimizer._learning_rate
        self._forget_plan()
        self.is_changed = bool(self.differences(state))
        if isinstance(rate, _Scheduler):
            if self._continues(state):
                self._take(state, dict(state["plan"]))
            elif not self.is_changed:
                _restore(rate, state)
            elif state["class"] != "float" and self.on_change != REPLAN:
                self._go_another_way(state)
            elif state["class"] != "float":
                _restore(rate, self._at_start)
                _take_over(rate, state)
        elif state["given"] == {"value": float(self._given_rate)}:
            # A number that was changed in the config is the one wanted from here on.
            self._optimizer.set_lr(state["state"]["value"])

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        if self._continues(state):
            return []
        now = self.state_dict() if self._plan is None else self._at_start
        return _compare("learning rate", state, now, f"{type(self._optimizer).__name__}(learning_rate=)")

    def rates(self, state: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """By way, with which rate it would go on from `state`, and what it would end with or, if not known, begin with.

        A way that cannot be taken is left out. Only for what has not been restored yet.
        """
        rate = self._optimizer._learning_rate
        if state["class"] == "float" or not isinstance(rate, _Scheduler) or waits_for_metric(rate):
            return {}
        found: dict[str, tuple[float, float]] = {}
        for way in (RESTART, HOLD, REPLAN):
            trial = SchedulerState(SimpleNamespace(_learning_rate=copy.deepcopy(rate)))
            trial.on_change = way
            with suppress(StateError, ArithmeticError, ValueError):
                trial.set_state_dict(state)
                moved = trial._optimizer._learning_rate
                begins = float(moved())
                while way == HOLD and not is_held(moved):
                    moved.step()
                found[way] = (begins, float(moved()))
        return found

    def _continues(self, state: dict[str, Any]) -> bool:
        """Whether the record's rate went another way than the schedule given then, and that is given now too."""
        plan = state.get("plan")
        return plan is not None and not _compare("", plan["given"], _without_state(self._at_start), "")

    def _go_another_way(self, state: dict[str, Any]) -> None:
        """Begin the schedule that is given, or keep the old one to its end; raises StateError where it has none."""
        rate: Any = self._optimizer._learning_rate
        plan = {"way": self.on_change, "given": _without_state(self._at_start), "before": _moves_before(state)}
        if self.on_change == RESTART:
            _restore(rate, self._at_start)
            self._plan = {**plan, "before": _moves(state)}
            return
        end = end_of(state["class"], state["given"])
        if state["class"] != self._at_start["class"] or end is None:
            raise StateError(
                f"The learning rate cannot be held: a {state['class']} was the schedule, "
                + ("which has no end." if end is None else f"and now it is a {self._at_start['class']}.")
                + " Leave it to begin anew (restart), or to be where it would have come to (replan)."
            )
        self._take(state, {**plan, "end": max(end, state["state"]["last_epoch"])})

    def _forget_plan(self) -> None:
        if self._plan is not None:
            rate: Any = self._optimizer._learning_rate
            _restore(rate, self._at_start, with_given=True)
            for field in (HELD_AT, HELD_MOVES):
                vars(rate).pop(field, None)
            self._plan = None

    def _take(self, state: dict[str, Any], plan: dict[str, Any]) -> None:
        """Be the schedule of the record, also in what its arguments have decided."""
        rate: Any = self._optimizer._learning_rate
        _restore(rate, state, with_given=True)
        self._plan = plan
        if "end" in plan:
            hold(rate, plan["end"], plan.get("held", 0))


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


def _without_state(captured: dict[str, Any]) -> dict[str, Any]:
    """Class and arguments alone, of those inside as well."""
    given = {
        field: _without_state(value) if isinstance(value, dict) and "given" in value else value
        for field, value in captured["given"].items()
    }
    return {"class": captured["class"], "given": given, "state": {}}


def _restore(scheduler: Any, saved: dict[str, Any], with_given: bool = False) -> None:
    for field, value in {**saved["given"], **saved["state"]}.items():
        current = getattr(scheduler, field, None)
        if isinstance(current, _Scheduler):
            _restore(current, value, with_given)
        elif field in saved["state"]:
            setattr(scheduler, field, _live(value))
        elif with_given and _plain(scheduler, field, current) != value:
            setattr(scheduler, field, value)


def _moves_before(saved: dict[str, Any]) -> int:
    """How many moves the run had made when the schedule that was saved began."""
    return int(saved.get("plan", {}).get("before", 0))


def _moves(saved: dict[str, Any]) -> int:
    """How many moves the run has made, those before a schedule that began anew and after one that is held too."""
    return _moves_before(saved) + int(saved["state"].get("last_epoch", 0)) + int(saved.get("plan", {}).get("held", 0))


def _take_over(scheduler: Any, saved: dict[str, Any]) -> None:
    """Bring `scheduler`, which stands at its start, to where the one that was `saved` had come."""
    position = _moves(saved)
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


def _compare(where: str, then: dict[str, Any], now: dict[str, Any], argument: str) -> list[Difference]:
    if then["class"] != now["class"]:
        return [Difference(f"{where} scheduler", then["class"], now["class"], LR_SCOPE, argument)]
    found = []
    # A record of an earlier version may count as state what follows from the arguments.
    before = {**then["state"], **then["given"]}
    for field in sorted({*then["given"], *now["given"]}):
        old, new = before.get(field), {**now["state"], **now["given"]}.get(field)
        if isinstance(old, dict) and isinstance(new, dict) and "class" in old and "class" in new:
            found += _compare(f"{where} {field}", old, new, argument)
        elif old != new:
            found.append(Difference(f"{where} {now['class']}.{field}", old, new, LR_SCOPE, argument))
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
