"""What processes that train together exchange, timed beside Paddle's own way; run in each process.

python -m benchmarks.parallel_exchange '{"calls": ...}'
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Callable

import paddle

from benchmarks.child_process import report
from benchmarks.parallel_rounds import (
    AGREE,
    AVERAGE,
    GATHER,
    GATHER_OBJECT,
    ONE_NUMBER,
    ONE_TENSOR,
)
from paddle_resume.models import MNIST
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams

_WARMUP = 10


def time_exchange(calls: int) -> dict[str, float]:
    """Seconds a call of each exchange, as the mean of `calls`; the processes come to each of them at the same time."""
    world = World.current()
    model = MNIST()
    model(paddle.rand([4, 1, 28, 28])).sum().backward()
    parameters = list(model.parameters())
    number, flat = paddle.zeros([1]), paddle.zeros([sum(parameter.size for parameter in parameters)])
    random = RandomStreams()
    random.begin_step(0)  # What lets Paddle 2.6 save it.
    state = random.state_dict()
    with world.together():
        return {
            AGREE: _seconds(world.agree, calls),
            ONE_NUMBER: _seconds(lambda: paddle.distributed.all_reduce(number), calls),
            AVERAGE: _seconds(lambda: world.average_gradients(parameters), calls),
            ONE_TENSOR: _seconds(lambda: paddle.distributed.all_reduce(flat), calls),
            GATHER: _seconds(lambda: world.gather(state), calls),
            GATHER_OBJECT: _seconds(lambda: paddle.distributed.all_gather_object([], state), calls),
        }


def _seconds(call: Callable[[], Any], calls: int) -> float:
    for _ in range(_WARMUP):
        call()
    begun = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begun) / calls


if __name__ == "__main__":
    paddle.set_device("cpu")
    report(time_exchange(json.loads(sys.argv[1])["calls"]))
