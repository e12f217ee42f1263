"""The owners of a model and its optimizer that are spread over a mesh of processes."""

from __future__ import annotations

from typing import Any

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.shard_folder import OWNER
from paddle_resume.checkpoint.sharded_state import ShardedState
from paddle_resume.owners.model import ParameterNames
from paddle_resume.owners.optimizer_settings import OptimizerSettings
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.parallel.mesh import DeviceMesh, ShardingState
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner


def sharded_owners(
    model: Any, optimizer: Any, mesh: DeviceMesh, checkpointer: CheckpointEngine, world: World
) -> dict[str, Owner]:
    """Those that stand in for `paddle_owners`, in the order in which they are restored."""
    names = ParameterNames(model)
    shards = ShardedState(model, optimizer, save_dir=checkpointer.folder, name=checkpointer.name, world=world)
    return {
        "sharding": ShardingState(mesh.mesh, model),
        OWNER: shards,
        "scheduler": SchedulerState(optimizer),
        "settings": OptimizerSettings(optimizer._inner_opt, names),
    }
