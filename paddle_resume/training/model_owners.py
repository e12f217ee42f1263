"""The owners of a model and its optimizers, whole in each process or split over a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.owners.model import BufferState
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.per_rank import MainRanksFile
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner


class _TrainersBuffers(BufferState):
    """Of a run whose batches go through the models of all processes but rank 0, which takes over theirs for a save.

    Among these buffers are such as no step needs, but a pass leaves behind: weights that weight norm has computed.
    """

    def __init__(self, model: Any, world: World) -> None:
        super().__init__(model)
        self._world = world

    def prepare_save(self) -> None:
        self._world.agree()  # The collective is less patient, and rank 0 may have waited for a disk.
        self._world.broadcast(list(self.tensors().values()), source=1)


def model_owners(
    model: Any,
    optimizers: Mapping[str, Any],
    mesh: Optional[DeviceMesh],
    engine: CheckpointEngine,
    world: World,
    has_server: bool = False,
) -> dict[str, Owner]:
    """In the order in which they are restored; on a mesh there is one optimizer.

    With `has_server` only rank 0 has what the optimizers keep, such as moments.
    """
    if mesh is None:
        owners = paddle_owners(model, optimizers)
        return {name: _with_server(owner, model, world) for name, owner in owners.items()} if has_server else owners
    from paddle_resume.checkpoint.sharded_owners import sharded_owners

    (optimizer,) = optimizers.values()
    return sharded_owners(model, optimizer, mesh, engine, world)


def _with_server(owner: Any, model: Any, world: World) -> Owner:
    if isinstance(owner, OptimizerState) and not world.is_main:
        return MainRanksFile(owner.suffix)
    return _TrainersBuffers(model, world) if isinstance(owner, BufferState) else owner
