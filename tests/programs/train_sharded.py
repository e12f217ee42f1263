"""A hand-written loop on a mesh of processes, started by `python -m paddle.distributed.launch`, for test_sharded.

    train_sharded.py FOLDER JSON

The options are those of `Options`. Rank 0 leaves in FOLDER the whole weights and optimizer state by key, and
the losses of this start; without a launcher and a mesh the same model trains unsharded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from paddle_resume import Checkpointer, RandomStreams, seed_everything

import numpy as np
import paddle

from paddle_resume.checkpoint.shard_folder import OWNER
from paddle_resume.checkpoint.shards import ShardedState
from paddle_resume.config.sharding import Mesh, Split
from paddle_resume.environment import Environment
from paddle_resume.errors import PaddleResumeError
from paddle_resume.models import MLP, TransformerLM
from paddle_resume.parallel.ranks import EachRank
from paddle_resume.parallel.sharding import DeviceMesh, ShardingState, local_part
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owners
from paddle_resume.storage.files import FileSystem

MODELS = {
    "mlp": lambda: MLP(hidden=32, dropout=0.2),
    "transformer": lambda: TransformerLM(24, context=8, width=16, depth=2, heads=4, dropout=0.0),
}
PLANS = {
    "mlp": [
        Split(name="hidden.weight", split=1),
        Split(name="hidden.bias", split=0),
        Split(name="output.weight", split=0),
    ],
    "transformer": [
        Split(name="tokens.weight", split=0),
        Split(name="*.[qkv]_proj.weight", split=1),
        Split(name="*.[qkv]_proj.bias", split=0),
        Split(name="*.out_proj.weight", split=0),
        Split(name="*.linear1.weight", split=1),
        Split(name="*.linear1.bias", split=0),
        Split(name="*.linear2.weight", split=0),
    ],
}


@dataclass(frozen=True)
class Options:
    """What one start does."""

    kind: str = "mlp"
    mesh: Optional[tuple[int, int]] = None
    steps: int = 4
    optimizer: str = "AdamW"
    evaluate: bool = False
    resume: Optional[str] = None
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
    seed_everything(3)
    model = MODELS[options.kind]()
    mesh = Mesh(data=options.mesh[0], model=options.mesh[1]) if options.mesh else None
    device_mesh = DeviceMesh(mesh, world) if mesh else None
    if device_mesh:
        device_mesh.shard_model(model, PLANS[options.kind])
    rate = paddle.optimizer.lr.PolynomialDecay(0.05, decay_steps=8, end_lr=0.01)
    optimizer = getattr(paddle.optimizer, options.optimizer)(rate, parameters=model.parameters())
    if options.evaluate:
        model.eval()
    owners, checkpointer = None, None
    if mesh and device_mesh:
        optimizer = device_mesh.shard_optimizer(optimizer)
        deadly = options.kill_at_fsync and world.rank == options.kill_rank
        checkpointer = Checkpointer(folder, "run", background=False, world=world)
        state = ShardedState(
            model, optimizer, save_dir=folder, name="run", world=world,
            **({"disk": Deadly(options.kill_at_fsync)} if deadly else {}),
        )  # fmt: skip
        streams = RandomStreams(3, rank=device_mesh.data_rank)
        streams.start_rank()
        owners = Owners(
            environment=Environment(),
            sharding=ShardingState(mesh, model),
            **{OWNER: state},
            rate=rate,
            rng=EachRank(streams, world),
        )
        restored = checkpointer.restore(owners, options.resume or "auto", allow_inexact=options.allow_inexact)
        first = restored.step if restored else 0
        if restored:
            dump(folder / "restored.npz", state._tensors(), world)
    else:
        first, state = 0, None
    losses = []
    for step in range(first, options.steps):
        losses.append(train_step(options.kind, model, optimizer, rate, step, device_mesh))
        if checkpointer and owners:
            checkpointer.save(step + 1, owners)
    if state is not None:
        dump(folder / "final.npz", state._tensors(), world)
    else:
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        dump(folder / "final.npz", tensors, world)
    if world.first:
        (folder / "losses.json").write_text(json.dumps(losses))
    if checkpointer:
        checkpointer.close()
    world.agree()


def train_step(kind: str, model: Any, optimizer: Any, rate: Any, step: int, mesh: Optional[DeviceMesh]) -> float:
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
    rate.step()
    return float(mesh.whole(loss) if mesh else loss)


def dump(path: Path, tensors: dict[str, paddle.Tensor], world: World) -> None:
    """The parts of all processes, gathered by the channel between them: Paddle's own gathering takes no part."""
    parts = world.gather({key: local_part(tensor).numpy() for key, tensor in tensors.items()})
    if world.first:
        np.savez(path, **{f"{key}@{rank}": array for rank, part in enumerate(parts) for key, array in part.items()})


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    try:
        with World.current().together():
            main(Path(sys.argv[1]), Options(**given))
    except PaddleResumeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
