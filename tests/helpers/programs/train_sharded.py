"""A hand-written loop on a mesh of processes, started by `python -m paddle.distributed.launch`, for test_sharded.

    train_sharded.py FOLDER JSON

The options are those of `Options`. Rank 0 leaves in FOLDER what each process holds of the weights and of the
optimizer's state, where it went on and where it ended, and, if asked for, how far steps on the mesh are from unsharded
ones.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume import Checkpointer, RandomStreams, seed_everything
from paddle_resume.checkpoint.shard_folder import OWNER
from paddle_resume.checkpoint.sharded_state import ShardedState
from paddle_resume.config.mesh import MeshConfig, SplitConfig
from paddle_resume.environment import Environment
from paddle_resume.errors import PaddleResumeError
from paddle_resume.models import MLP, TransformerLM
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.owners.tensor_views import local_part
from paddle_resume.parallel.mesh import DeviceMesh, ShardingState
from paddle_resume.parallel.per_rank import PerRank
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owners
from paddle_resume.storage.durable_files import FileSystem

MODELS = {
    "mlp": lambda dropout: MLP(hidden=32, dropout=dropout),
    "transformer": lambda dropout: TransformerLM(24, context=8, width=16, depth=2, heads=4, dropout=dropout),
}
PLANS = {
    "mlp": [
        SplitConfig(name="hidden.weight", split=1),
        SplitConfig(name="hidden.bias", split=0),
        SplitConfig(name="output.weight", split=0),
    ],
    "transformer": [
        SplitConfig(name="tokens.weight", split=0),
        SplitConfig(name="*.[qkv]_proj.weight", split=1),
        SplitConfig(name="*.[qkv]_proj.bias", split=0),
        SplitConfig(name="*.out_proj.weight", split=0),
        SplitConfig(name="*.linear1.weight", split=1),
        SplitConfig(name="*.linear1.bias", split=0),
        SplitConfig(name="*.linear2.weight", split=0),
    ],
}


@dataclass(frozen=True)
class Options:
    """What one start does."""

    kind: str = "mlp"
    mesh: tuple[int, int] = (1, 2)
    steps: int = 4
    compare: bool = False
    allow_inexact: bool = False
    kill_at_fsync: int = 0
    """Kill rank `kill_rank` at so many fsyncs of its shards."""
    kill_rank: int = 0


class Deadly(FileSystem):
    """The disk of a process that is killed, by a real SIGKILL, instead of making the n-th file durable."""

    def __init__(self, count: int) -> None:
        self._left = count

    def fsync_file(self, path: Path) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().fsync_file(path)


def main(folder: Path, options: Options) -> None:
    world = World.current()
    mesh = MeshConfig(data=options.mesh[0], model=options.mesh[1])
    device_mesh = DeviceMesh(mesh, world)
    if options.compare:
        compare(folder, device_mesh, world)
    model, optimizer, rate = build(options.kind, "AdamW", dropout=0.2, mesh=device_mesh)
    deadly = options.kill_at_fsync and world.rank == options.kill_rank
    disk = Deadly(options.kill_at_fsync) if deadly else FileSystem()
    shards = ShardedState(model, optimizer, save_dir=folder, name="run", world=world, disk=disk)
    streams = RandomStreams(3, rank=device_mesh.data_rank)
    streams.start_rank()
    owners = Owners(
        environment=Environment(),
        sharding=ShardingState(mesh, model),
        **{OWNER: shards},
        scheduler=SchedulerState(optimizer),
        rng=PerRank(streams, world),
    )
    checkpointer = Checkpointer(folder, "run", background=False, world=world)
    restored = checkpointer.restore(owners, allow_inexact=options.allow_inexact)
    if restored:
        print("passed over:", restored.passed_over, flush=True)
        dump(folder / "restored.npz", shards.tensors(), world)
    for step in range(restored.step if restored else 0, options.steps):
        train_step(options.kind, model, optimizer, step, device_mesh)
        rate.step()
        checkpointer.save(step + 1, owners)
    dump(folder / "final.npz", shards.tensors(), world)
    checkpointer.close()
    world.agree()


def build(kind: str, name: str, dropout: float, mesh: Optional[DeviceMesh]) -> tuple[Any, Any, Any]:
    """The model, its optimizer and the schedule, on the mesh if there is one."""
    seed_everything(3)
    model = MODELS[kind](dropout)
    if mesh:
        mesh.shard_model(model, PLANS[kind])
    rate = paddle.optimizer.lr.PolynomialDecay(0.05, decay_steps=8, end_lr=0.01)
    optimizer = getattr(paddle.optimizer, name)(rate, parameters=model.parameters())
    return model, mesh.shard_optimizer(optimizer) if mesh else optimizer, rate


def train_step(kind: str, model: Any, optimizer: Any, step: int, mesh: Optional[DeviceMesh]) -> float:
    draw = np.random.RandomState(step)
    if kind == "mlp":
        x, label = draw.rand(8, 784).astype("float32"), draw.randint(0, 10, (8, 1))
    else:
        x, label = draw.randint(0, 24, (8, 8)), draw.randint(0, 24, (8, 8))
    spread = mesh.spread if mesh else (lambda tensor: tensor)
    output = model(spread(paddle.to_tensor(x)))
    loss = paddle.nn.functional.cross_entropy(output, spread(paddle.to_tensor(label)))
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()
    return float(mesh.unshard(loss) if mesh else loss)


def compare(folder: Path, mesh: DeviceMesh, world: World) -> None:
    """The losses of two steps and the weights after them, on the mesh and on one process; SGD, without dropout."""
    found = {}
    for kind in MODELS:
        runs = []
        for where in (None, mesh):
            with paddle.utils.unique_name.guard():  # The run's own model keeps the names of a first one.
                model, optimizer, _ = build(kind, "SGD", 0.0, where)
            losses = [train_step(kind, model, optimizer, step, where) for step in range(2)]
            runs.append((losses, [mesh.unshard(tensor).numpy() for tensor in model.state_dict().values()]))
        (losses, weights), (ours, sharded) = runs
        furthest = max(float(np.abs(a - b).max()) for a, b in zip(weights, sharded))
        found[kind] = {"one process": losses, "mesh": ours, "furthest weight": furthest}
    if world.is_main:
        (folder / "compare.json").write_text(json.dumps(found))


def dump(path: Path, tensors: dict[str, paddle.Tensor], world: World) -> None:
    """The parts of all processes, gathered by the channel between them: Paddle's own gathering takes no part."""
    parts = world.gather({key: local_part(tensor).numpy() for key, tensor in tensors.items()})
    if world.is_main:
        np.savez(path, **{f"{key}@{rank}": array for rank, part in enumerate(parts) for key, array in part.items()})


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    try:
        with World.current().together():
            main(Path(sys.argv[1]), Options(**given))
    except PaddleResumeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
