"""The owners of what `paddle.Model.fit` holds besides model, optimizer and data: metrics, loss scale, callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import paddle

from paddle_resume.differences import Difference
from paddle_resume.environment import Environment
from paddle_resume.hapi.fields import MovingFields, changes, frozen, thawed
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.stateful import Owners, Stateful

# What decides about the training in Paddle's own callbacks; the rest in them is output.
_COMPARED: dict[type, tuple[str, ...]] = {
    paddle.callbacks.EarlyStopping: ("monitor", "patience", "min_delta", "baseline"),
    paddle.callbacks.ReduceLROnPlateau: ("monitor", "factor", "patience", "min_delta", "cooldown", "min_lr", "mode"),
    paddle.callbacks.LRScheduler: ("by_step", "by_epoch"),
}
# Set by `fit` at every start, and not state of the callback.
_SET_BY_FIT = ("model", "params", "epochs", "steps")


def fit_owners(model: Any, position: Any, callbacks: Sequence[Any]) -> Owners:
    """All owners of a fit but its logs, data and generators, in the order in which they are restored."""
    owners = Owners(environment=Environment(), position=position)
    for name, owner in paddle_owners(model.network, {"": model._optimizer}).items():
        owners.add(name, owner)
    owners.add("rate", RateInForce(model._optimizer))
    owners.add("scaler", LossScale(model))
    for name, metric in numbered("metric", model._metrics):
        fields = [field for field in vars(metric) if field != "_name"]
        owners.add(name, metric if isinstance(metric, Stateful) else MovingFields(metric, name, fields))
    for name, callback in numbered("callback", callbacks):
        if isinstance(callback, Stateful):
            owners.add(name, callback)
        elif not isinstance(callback, paddle.callbacks.ProgBarLogger):
            owners.add(name, MovingFields(callback, name, _COMPARED.get(type(callback), ()), _SET_BY_FIT))
    return owners


class RateInForce:
    """Owner of the learning rate that updates are made with, where it is a plain number.

    Optimizers keep it in a tensor of their own from the first step on. Paddle's ReduceLROnPlateau callback changes
    only the number beside it, so the two can differ, and each has to come back as it was.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        rate = None if self._is_scheduled else self._optimizer._global_learning_rate()
        return {"value": None if rate is None else float(rate)}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        if state["value"] is None or self._is_scheduled:
            return
        shown = self._optimizer._learning_rate
        self._optimizer.set_lr(state["value"])
        self._optimizer._create_global_learning_rate()  # which Paddle itself does in the first step
        self._optimizer._learning_rate = shown

    @property
    def _is_scheduled(self) -> bool:
        return isinstance(self._optimizer._learning_rate, paddle.optimizer.lr.LRScheduler)


class LossScale:
    """Owner of the GradScaler that `fit` makes for mixed precision; how it was prepared is compared."""

    def __init__(self, model: Any) -> None:
        self._model = model
        adapter = model._adapter
        lists = {name: sorted(values) for name, values in adapter._amp_custom_lists.items() if values}
        self._given = {"level": adapter._amp_level, **adapter._amp_configs, **lists}

    def state_dict(self) -> dict[str, Any]:
        scaler = getattr(self._model, "_scaler", None)
        state = scaler.state_dict() if scaler is not None else {}
        return {"given": self._given, "state": {name: _array(value) for name, value in state.items()}}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        if state["state"]:
            if self._model._scaler is None:  # Paddle makes it in the first step.
                self._model._scaler = paddle.amp.GradScaler(**self._model._adapter._amp_configs)
            self._model._scaler.load_state_dict(thawed(state["state"]))

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return changes("amp_configs", state["given"], self._given)


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, paddle.Tensor) else frozen(value)


def numbered(kind: str, things: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each thing with a name: `callback.EarlyStopping`, and `callback.EarlyStopping.2` for a second one."""
    seen: dict[str, int] = {}
    for thing in things:
        name = f"{kind}.{type(thing).__name__}"
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}.{seen[name]}"), thing
