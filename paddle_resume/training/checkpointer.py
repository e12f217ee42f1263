"""The engine for loops that are written by hand: it takes their model, optimizers and data as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.owners.loop_owners import loop_owners
from paddle_resume.stateful import Owners


class Checkpointer(CheckpointEngine):
    """Saves and restores `{"model": model, "optimizer": optimizer, "data": sampler, ...}`; see `CheckpointEngine`.

    A `paddle.nn.Layer` and `paddle.optimizer.Optimizer`s are bound by structured name, everything else must have
    `state_dict()` and `set_state_dict()`. With a model come the environment and, restored last, every generator.
    """

    def as_owners(self, owners: Mapping[str, Any]) -> Owners:
        """The owners of what a loop holds; raises StateError for a second model, or an optimizer without one."""
        return owners if isinstance(owners, Owners) else loop_owners(owners)
