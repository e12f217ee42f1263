"""Puts a model, its optimizer and its data on a mesh of processes, by Paddle's own semi-automatic parallelism.

    mesh = DeviceMesh(MeshConfig(data=1, model=2), World.current())
    mesh.shard_model(model, [SplitConfig(name="*.linear1.weight", split=1), ...])
    optimizer = mesh.shard_optimizer(paddle.optimizer.AdamW(parameters=model.parameters()))
    loss = mesh.unshard(loss_function(model(mesh.shard_batch(x)), mesh.shard_batch(label)))

Every process builds the model from the same seed and writes the program of a single one; Paddle inserts the
communication. What is computed is what one process computes, up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from paddle_resume.config.mesh import MeshConfig, SplitConfig
from paddle_resume.differences import Difference
from paddle_resume.errors import ConfigError
from paddle_resume.owners.tensor_views import view
from paddle_resume.parallel.shard_plan import check_mesh, resolve_plan
from paddle_resume.parallel.world import World

_OPTIMIZERS = ("AdamW", "SGD")
Region = tuple[tuple[int, ...], tuple[int, ...]]
"""Part of a tensor: where it begins in each dimension, and its shape."""


class DeviceMesh:
    """The processes of a run as a mesh with the axes `data` and `model`.

    Raises ConfigError if the mesh is not of as many processes as the world, or Paddle is older than 3.0.
    """

    def __init__(self, mesh: MeshConfig, world: World) -> None:
        _require_paddle_3()
        check_mesh(mesh, world.size)
        self.mesh = mesh
        self.data_rank, self.model_rank = divmod(world.rank, mesh.model)
        ranks = np.arange(mesh.size).reshape(mesh.data, mesh.model)
        self._processes = paddle.distributed.ProcessMesh(ranks.tolist(), dim_names=["data", "model"])

    def shard_model(self, model: paddle.nn.Layer, plan: Sequence[SplitConfig]) -> None:
        """Split the model's parameters in place as `plan` says, and put all others on every process.

        Call it before the optimizer is built: the model has other parameter objects afterwards, of the same structured
        names. Tied parameters stay tied. Raises ConfigError as `resolve_plan` does.
        """
        splits = resolve_plan(model, self.mesh, plan)
        placed: dict[str, Any] = {}  # by Paddle's name, so that a tied parameter is placed once

        def place(name: str, layer: paddle.nn.Layer, processes: Any) -> None:
            for own, parameter in layer._parameters.items():
                if parameter is not None and not parameter.is_dist():
                    if parameter.name not in placed:
                        placements = self._placements(splits.get(parameter.name))
                        placed[parameter.name] = paddle.distributed.shard_tensor(parameter, processes, placements)
                    layer._parameters[own] = placed[parameter.name]

        paddle.distributed.shard_layer(model, self._processes, place)

    def shard_optimizer(self, optimizer: paddle.optimizer.Optimizer) -> Any:
        """`optimizer`, built from the parameters of a sharded model, with its state split as they are.

        Raises ConfigError for one that Paddle cannot shard: it can AdamW and SGD.
        """
        name = type(optimizer).__name__
        if name not in _OPTIMIZERS:
            raise ConfigError(
                f"optimizer.name is {name}; with parallel.mesh expected one of {', '.join(_OPTIMIZERS)}, the only ones "
                "that Paddle can shard"
            )
        return paddle.distributed.shard_optimizer(optimizer)

    def shard_batch(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """A whole batch, the same in every process, as one tensor whose samples are split over the axis `data`.

        Raises ConfigError if the axis does not divide its samples.
        """
        if tensor.shape[0] % self.mesh.data:
            raise ConfigError(
                f"parallel.mesh.data is {self.mesh.data} and does not divide a batch of {tensor.shape[0]} samples; "
                "choose data.global_batch_size so that it does, and data.drop_last: true if the last batch is shorter"
            )
        rows = [paddle.distributed.Shard(0), paddle.distributed.Replicate()]
        return paddle.distributed.shard_tensor(tensor, self._processes, rows)

    def replicate(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """A whole batch in every process: for an evaluation, whose last batch may have any number of samples."""
        return paddle.distributed.shard_tensor(tensor, self._processes, self._placements(None))

    def unshard(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """A result as one process would have it: the whole of it in every process, a dense tensor."""
        if not tensor.is_dist():
            return tensor
        # Paddle gives the mean over the processes of a single number as an array of one.
        return paddle.distributed.unshard_dtensor(tensor).reshape(tensor.shape)

    def unsharded_weights(self, model: paddle.nn.Layer) -> dict[str, np.ndarray]:
        """The parameters and buffers of a sharded model, as one file would hold them; every process has to ask."""
        return {name: view(self.unshard(tensor)) for name, tensor in model.state_dict().items()}

    def _placements(self, dimension: int | None) -> list[Any]:
        everywhere = paddle.distributed.Replicate()
        return [everywhere, everywhere if dimension is None else paddle.distributed.Shard(dimension)]


class ShardingState:
    """Owner of the mesh and of how the model is split over it: nothing to restore, but other bits if they differ."""

    def __init__(self, mesh: MeshConfig, model: paddle.nn.Layer) -> None:
        self._mesh = mesh
        self._model = model

    def state_dict(self) -> dict[str, Any]:
        parts = {name: region(tensor)[1] for name, tensor in self._model.state_dict().items()}
        whole = {name: tuple(tensor.shape) for name, tensor in self._model.state_dict().items()}
        split = {name: list(part) for name, part in parts.items() if part != whole[name]}
        return {"mesh": self._mesh.model_dump(), "parts": split}

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        """The mesh, or else each parameter that is split in another way; sums in another order give other bits."""
        before, now = MeshConfig(**state["mesh"]), self.state_dict()
        if before != self._mesh:
            return [Difference("parallel.mesh", before, self._mesh)]
        return [
            Difference(
                f"the part of {name} in each process", state["parts"].get(name, "all"), now["parts"].get(name, "all")
            )
            for name in sorted({*state["parts"], *now["parts"]})
            if state["parts"].get(name) != now["parts"].get(name)
        ]


def region(tensor: paddle.Tensor) -> Region:
    """Which part of a tensor this process holds.

    Only for even splits, the only ones that a plan may ask for.
    """
    start, shape = [0] * len(tensor.shape), list(tensor.shape)
    if tensor.is_dist():
        mesh: Any = tensor.process_mesh
        placements: Any = tensor.placements
        place = np.argwhere(np.reshape(mesh.process_ids, mesh.shape) == paddle.distributed.get_rank())[0]
        for placement, position, size in zip(placements, place, mesh.shape):
            if placement.is_shard():
                dimension = placement.get_dim()
                shape[dimension] //= size
                start[dimension] += int(position) * shape[dimension]
    return tuple(start), tuple(shape)


def _require_paddle_3() -> None:
    if paddle.__version__.startswith("2."):
        raise ConfigError(
            f"parallel.mesh needs Paddle 3, and this is {paddle.__version__}: its shard_tensor gives parameters new "
            "names and leaves results without values on some processes. Install a newer Paddle, or leave "
            "out parallel.mesh: the processes then share the batches."
        )
