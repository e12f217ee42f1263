"""Ordinary and elastic training by turns in one process, or in several; run in each of them.

python -m benchmarks.elastic_training '{"net": ..., "shares": [null, 4], "batch_size": ..., "exchange": ..., ...}'

Each trainer trains in a thread of its own, and one of them at a time: after so many steps it hands on to the next.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Optional

import numpy as np
import paddle

from benchmarks.child_process import report
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.models import MNIST
from paddle_resume.parallel.world import World
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.options import Processes
from paddle_resume.training.run_view import RunView
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.trainer import Trainer

NETS: dict[str, Callable[[], paddle.nn.Layer]] = {
    "convolution": MNIST,
    "wide": lambda: paddle.nn.Sequential(
        paddle.nn.Flatten(),
        paddle.nn.Linear(784, 1024),
        paddle.nn.ReLU(),
        paddle.nn.Linear(1024, 1024),
        paddle.nn.ReLU(),
        paddle.nn.Linear(1024, 10),
    ),
}


class Baton(Callback):
    """Lets one of several trainings go on at a time, and takes how long each of its turns was."""

    only_watches = True

    def __init__(self, own: threading.Semaphore, following: threading.Semaphore, steps: int, warmup: int) -> None:
        self.seconds: list[float] = []
        self.is_ready = threading.Event()
        self._own, self._following = own, following
        self._steps, self._warmup = steps, warmup
        self._made = 0
        self._begun = 0.0

    def on_train_begin(self, trainer: RunView) -> None:
        self.is_ready.set()
        self._own.acquire()

    def on_step_end(self, trainer: RunView) -> None:
        self._made += 1
        made = self._made - self._warmup
        if made < 0 or made % self._steps:
            return
        if made:
            self.seconds.append((time.perf_counter() - self._begun) / self._steps)
        self._following.release()
        self._own.acquire()
        self._begun = time.perf_counter()

    def on_train_end(self, trainer: RunView) -> None:
        self._following.release()


def time_by_turns(spec: dict[str, Any], folder: Path) -> list[list[float]]:
    """Seconds a step of each turn, for each number of shares."""
    draw = np.random.default_rng(0)
    data = ImageArrays(
        draw.integers(0, 256, (4096, 28, 28), np.uint8), draw.integers(0, 10, 4096).astype(np.int64), num_classes=10
    )
    world, total = World.current(), spec["warmup"] + spec["steps"] * spec["turns"]
    turns = [threading.Semaphore(0) for _ in spec["shares"]]
    following = [*turns[1:], turns[0]]
    batons = [Baton(own, after, spec["steps"], spec["warmup"]) for own, after in zip(turns, following)]

    def train_or_end(number: int, shares: Optional[int]) -> None:
        try:
            train(number, shares)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # The others would wait for its turn.

    def train(number: int, shares: Optional[int]) -> None:
        model = NETS[spec["net"]]()
        trainer = Trainer(
            model,
            paddle.optimizer.Adam(0.001, parameters=model.parameters()),
            loss=paddle.nn.CrossEntropyLoss(),
            callbacks=[batons[number]],
            save_dir=folder / str(number),
            schedule=SaveSchedule(every_epochs=None, background=False),
            processes=Processes(world=world, elastic=shares, **({"exchange": spec["exchange"]} if shares else {})),
        )
        trainer.train(data, epochs=1000, max_steps=total, global_batch_size=spec["batch_size"])

    threads = [threading.Thread(target=train_or_end, args=one, daemon=True) for one in enumerate(spec["shares"])]
    for thread, baton in zip(threads, batons):
        thread.start()
        baton.is_ready.wait()  # What several processes agree on at the start comes in one order.
    turns[0].release()
    for thread in threads:
        thread.join()
    return [baton.seconds for baton in batons]


if __name__ == "__main__":
    paddle.set_device("cpu")
    with TemporaryDirectory() as place:
        report({"seconds": time_by_turns(json.loads(sys.argv[1]), Path(place))})
