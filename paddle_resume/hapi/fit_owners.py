"""The owners of what `paddle.Model.fit` holds: metrics, loss scale, callbacks, all that is found, logs and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle

from paddle_resume.data.evaluation_data import EvaluationData
from paddle_resume.data.feed import Feed
from paddle_resume.differences import Difference, compare_fields
from paddle_resume.environment import Environment
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.owners import Origin
from paddle_resume.found_state.paddle_rules import claim_owned
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.rng import RandomStreams
from paddle_resume.stateful import Owners, Stateful
from paddle_resume.training.find_state import find_state
from paddle_resume.training.found_data import data_roots
from paddle_resume.training.found_in_run import numbered

_PREPARED = Origin(None, "Model.prepare()")
_ORIGINS = {
    **dict.fromkeys(("network", "loss", "optimizer", "metric"), _PREPARED),
    "callback": Origin(None, "Model.fit(callbacks=)", decides=False),
}
_ONLY_WRITE = (paddle.callbacks.ProgBarLogger, paddle.callbacks.ModelCheckpoint)
# Set by `fit` at every start, and not state of the callback.
_SET_BY_FIT = ("model", "params", "epochs", "steps")


def fit_owners(
    model: Any,
    position: Any,
    callbacks: Sequence[Any],
    loggers: Sequence[Any],
    feeds: Mapping[str, Feed],
    random: RandomStreams,
) -> Owners:
    """All owners of a fit in the order in which they are restored.

    Raises StateError naming whatever bears state that cannot be saved.
    """
    optimizers = {"": model._optimizer}
    of_model = paddle_owners(model.network, optimizers)
    claims = Claims()
    claims.object(model, "position")
    for logger in loggers:
        claims.object(logger, "log")
    claim_owned(claims, model.network, optimizers, of_model)
    roots = {"logs": position.logs, "network": model.network, "loss": model._loss, "optimizer": model._optimizer}
    named = [*numbered("metric", model._metrics), *numbered("callback", callbacks)]
    for name, thing in named:
        if isinstance(thing, Stateful):
            claims.object(thing, name)
        elif not isinstance(thing, _ONLY_WRITE):
            claims.attributes(thing, _SET_BY_FIT, "position")
            roots[name] = thing
    roots.update(data_roots(feeds, claims))
    found = find_state(model.network, roots, claims, of_model, feeds, ["train"], _ORIGINS)
    owners = Owners(environment=Environment(), position=position)
    owners.update({"found.arrays": found.arrays, "found": found.state})
    owners.update(of_model)
    owners.add("rate", RateInForce(model._optimizer))
    owners.add("scaler", LossScale(model))
    owners.update({name: thing for name, thing in named if isinstance(thing, Stateful)})
    owners.update(dict(numbered("log", loggers)))
    owners.add("data", feeds["train"])
    owners.add("evaluation", EvaluationData({name: feed for name, feed in feeds.items() if name != "train"}))
    owners.add("rng", random)
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
        return {"given": self._given, "state": {name: _plain(value) for name, value in state.items()}}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        if state["state"]:
            if self._model._scaler is None:  # Paddle makes it in the first step.
                self._model._scaler = paddle.amp.GradScaler(**self._model._adapter._amp_configs)
            self._model._scaler.load_state_dict(dict(state["state"]))

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return compare_fields("amp_configs {}", state["given"], self._given)


def _plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, paddle.Tensor) else value
