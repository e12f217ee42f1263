"""The owners of a hand-written loop: what its model, optimizers and data hold, and the randomness around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from paddle_resume.environment import Environment
from paddle_resume.errors import StateError
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.rng import RandomStreams
from paddle_resume.stateful import Owners


def loop_owners(things: Mapping[str, Any]) -> Owners:
    """Owners for `{"model": model, "optimizer": optimizer, "data": feed, ...}`.

    A `paddle.nn.Layer` and `paddle.optimizer.Optimizer`s are bound by structured name; all else must have
    `state_dict()` and `set_state_dict()`. With a model come the environment and, restored last, every generator,
    unless `rng` is given. Raises StateError for a second model, or an optimizer without one.
    """
    models = {name: thing for name, thing in things.items() if isinstance(thing, paddle.nn.Layer)}
    optimizers = {name: thing for name, thing in things.items() if isinstance(thing, paddle.optimizer.Optimizer)}
    if len(models) > 1 or (optimizers and not models):
        raise StateError(
            f"Give one model, found {len(models)} ({', '.join(models) or 'none'}): put several networks into one "
            "Layer; an optimizer's state is bound by the names of its model's parameters."
        )
    owners = Owners()
    if models:
        owners.add("environment", Environment())
    for model in models.values():
        single = len(optimizers) == 1
        named = {"" if single else name: optimizer for name, optimizer in optimizers.items()}
        for name, owner in paddle_owners(model, named).items():
            owners.add(name, owner)
    for name, thing in things.items():
        if name not in models and name not in optimizers:
            owners.add(name, thing)
    if models and "rng" not in things:
        owners.add("rng", RandomStreams(stepped=False))
    return owners
