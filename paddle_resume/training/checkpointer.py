"""The engine for loops that are written by hand: it takes their model, optimizers and data as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import paddle

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.data.feed import Feed
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.owners import Origin
from paddle_resume.found_state.paddle_rules import claim_owned
from paddle_resume.owners.loop_owners import loop_owners
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owners
from paddle_resume.training.find_state import find_state
from paddle_resume.training.found_data import data_roots
from paddle_resume.training.found_in_run import same_things

_ORIGINS = {name: Origin(None, "the program") for name in ("model", "optimizer")}


class Checkpointer(CheckpointEngine):
    """Saves and restores `{"model": model, "optimizer": optimizer, "data": sampler, ...}`; see `CheckpointEngine`.

    A `paddle.nn.Layer` and `paddle.optimizer.Optimizer`s are bound by structured name, everything else must have
    `state_dict()` and `set_state_dict()`. With a model come the environment, whatever else can be reached from the
    model, the optimizers and the data of a `Feed` and, restored last, every generator. Call `restore` before the loop,
    also in a first start: what has not moved since then is made again by the program.
    """

    _things: Optional[Mapping[str, Any]] = None
    _owners: Optional[Owners] = None

    def as_owners(self, owners: Mapping[str, Any]) -> Owners:
        """The owners of what a loop holds; raises StateError for a second model, or an optimizer without one.

        It is raised too for what can be reached and bears state that cannot be saved.
        """
        if isinstance(owners, Owners):
            return owners
        if self._owners is None or self._things is None or not same_things(owners, self._things):
            self._things, self._owners = dict(owners), _with_found(loop_owners(owners), owners, self._world)
        return self._owners


def _with_found(owners: Owners, things: Mapping[str, Any], world: World) -> Owners:
    """The owners with those of all that is found, which come first: they make room for tensors of the model."""
    model = next((thing for thing in things.values() if isinstance(thing, paddle.nn.Layer)), None)
    if model is None:
        return owners
    claims = Claims()
    optimizers = {name: thing for name, thing in things.items() if isinstance(thing, paddle.optimizer.Optimizer)}
    feeds = {name: thing for name, thing in things.items() if isinstance(thing, Feed)}
    named = optimizers if len(optimizers) > 1 else dict(zip(("",), optimizers.values()))
    claim_owned(claims, model, named, owners)
    roots: dict[str, Any] = {"model": model}
    roots.update({f"optimizer.{name}" if name else "optimizer": each for name, each in named.items()})
    for name, thing in things.items():
        if thing is not model and name not in optimizers:
            claims.object(thing, name)
    roots.update(data_roots(feeds, claims))
    found = find_state(model, roots, claims, owners, feeds, list(feeds), _ORIGINS, world)
    every = Owners(environment=owners["environment"])
    every.update({"found.arrays": found.arrays, "found": found.state})
    every.update({name: owner for name, owner in owners.items() if name != "environment"})
    return every
