"""The owners of a model and its optimizers, whole in each process or split over a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.per_rank import MainRanksFile
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner


def model_owners(
    model: Any,
    optimizers: Mapping[str, Any],
    mesh: Optional[DeviceMesh],
    engine: CheckpointEngine,
    world: World,
    updates_here: bool = True,
) -> dict[str, Owner]:
    """In the order in which they are restored; on a mesh there is one optimizer.

    Without `updates_here` another process holds what the optimizers keep, such as moments.
    """
    if mesh is None:
        owners = paddle_owners(model, optimizers)
        return owners if updates_here else {name: _elsewhere(owner) for name, owner in owners.items()}
    from paddle_resume.checkpoint.sharded_owners import sharded_owners

    (optimizer,) = optimizers.values()
    return sharded_owners(model, optimizer, mesh, engine, world)


def _elsewhere(owner: Any) -> Owner:
    return MainRanksFile(owner.suffix) if isinstance(owner, OptimizerState) else owner
