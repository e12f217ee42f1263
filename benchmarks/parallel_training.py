"""Training of a net by one process or several, by the trainer or a peer; run in each process.

python -m benchmarks.parallel_training \\
    '{"net": ..., "way": ..., "warmup": ..., "steps": ..., "data": ..., "folder": ...}'

The peers are run with `-m` too, unlike plain_loops.py: here all contestants have the CPU set-up of the package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle.io import DataLoader, DistributedBatchSampler

from benchmarks import plain_loops, trainer_contestant
from benchmarks.child_process import report
from benchmarks.parallel_rounds import BATCH_SIZE, DIGITS, IN_MEMORY, TRAINER, WIDE
from benchmarks.stopwatch import Stopwatch
from paddle_resume.data.mnist import load_mnist
from paddle_resume.models import MLP, MNIST

NETS: dict[str, Callable[[], paddle.nn.Layer]] = {DIGITS: MNIST, WIDE: lambda: MLP(hidden=2520)}
Batches = Iterable[tuple[paddle.Tensor, paddle.Tensor]]


def time_plain_loop(model: paddle.nn.Layer, in_memory: bool, warmup: int, steps: int, data: Path) -> dict[str, Any]:
    """The seconds of `steps` steps of the loop of Paddle's tutorials, with paddle.DataParallel if need be."""
    processes = paddle.distributed.get_world_size()
    if processes > 1:
        paddle.distributed.init_parallel_env()
        model = paddle.DataParallel(model)
    watch = Stopwatch(warmup, steps)
    batches = (batches_in_memory if in_memory else batches_of_files)(data, BATCH_SIZE)
    plain_loops.plain_loop(model, batches, watch)
    return {"seconds": watch.seconds}


def batches_of_files(data: Path, share: int) -> Batches:
    """This process's batches of `share` samples through Paddle's dataset, sampler and loader."""
    dataset = plain_loops.training_files(data)
    return DataLoader(dataset, batch_sampler=DistributedBatchSampler(dataset, share, shuffle=True))


def batches_in_memory(data: Path, share: int) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
    """The same of arrays that were made into what the network takes before the clock started."""
    dataset = load_mnist(root=data, valid=0).train
    images, labels = dataset.gather(np.arange(len(dataset)))
    for indices in DistributedBatchSampler(dataset, share, shuffle=True):
        yield paddle.to_tensor(images[indices]), paddle.to_tensor(labels[indices])


if __name__ == "__main__":
    paddle.set_device("cpu")
    spec: dict[str, Any] = json.loads(sys.argv[1])
    counts, source = (spec["warmup"], spec["steps"]), Path(spec["data"])
    net = NETS[spec["net"]]()
    if spec["way"] == TRAINER:
        together = BATCH_SIZE * paddle.distributed.get_world_size()
        report(trainer_contestant.time_training(*counts, source, Path(spec["folder"]), together, net))
    else:
        report(time_plain_loop(net, spec["way"] == IN_MEMORY, *counts, source))
