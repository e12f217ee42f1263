"""What saves in memory cost: each by itself, and training with them beside training without, by turns.

python -m benchmarks.memory_saves [STEPS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import islice
from statistics import median, quantiles
from typing import Any

import numpy as np
import paddle

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.models import MNIST
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.saver import Saver
from paddle_resume.training.trainer import Trainer

_BATCH_SIZE = 32
_BLOCK = 40
"""Steps with saves in memory as often as `auto` picks, then as many without, and so on."""
_WARMUP = 60


class _Turns(Callback):
    """Times blocks of steps: even ones with saves in memory, odd ones without."""

    only_watches = True

    def __init__(self) -> None:
        self.blocks: list[float] = []
        self.steps: list[float] = []
        self._began = self._step_began = time.perf_counter()

    @property
    def has_saves(self) -> bool:
        return len(self.blocks) % 2 == 0

    def on_step_begin(self, trainer: Any) -> None:
        now = time.perf_counter()
        done = trainer.step - _WARMUP
        if done >= 0 and done % _BLOCK == 0:
            if done:
                self.blocks.append(now - self._began)
            self._began = now
        self._step_began = now

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step > _WARMUP:
            self.steps.append(time.perf_counter() - self._step_began)


def measure(model: paddle.nn.Layer, shape: tuple[int, ...], pairs: int) -> tuple[_Turns, list[float], int]:
    """The blocks, the seconds of each save in memory, and the bytes of the state."""
    turns, costs, sizes = _Turns(), [], [0]
    save, due = CheckpointEngine.save_in_memory, Saver.memory_is_due

    def timed(engine: CheckpointEngine, *args: Any, **options: Any) -> None:
        began = time.perf_counter()
        save(engine, *args, **options)
        costs.append(time.perf_counter() - began)
        sizes[0] = sum(slot.size for slot in engine._memory._tier._slots) // 2

    CheckpointEngine.save_in_memory = timed  # type: ignore[method-assign,assignment]
    Saver.memory_is_due = lambda saver, step: turns.has_saves and due(saver, step)  # type: ignore[method-assign,assignment]
    count = (2 * pairs * _BLOCK + _WARMUP + 1) * _BATCH_SIZE
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    try:
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model,
                paddle.optimizer.Adam(parameters=model.parameters()),
                loss=paddle.nn.CrossEntropyLoss(),
                callbacks=[turns],
                save_dir=folder,
                schedule=SaveSchedule(every_epochs=None),
            )
            trainer.train(ImageArrays(images, np.arange(count) % 10, num_classes=10), global_batch_size=_BATCH_SIZE)
    finally:
        CheckpointEngine.save_in_memory, Saver.memory_is_due = save, due  # type: ignore[method-assign]
    return turns, costs, sizes[0]


def main(arguments: list[str]) -> None:
    """Measure both nets, and print a line for each."""
    pairs = int(arguments[0]) if arguments else 12
    nets: dict[str, tuple[paddle.nn.Layer, tuple[int, ...], int]] = {"MNIST net, 28 x 28": (MNIST(), (28, 28), pairs)}
    resnet = paddle.vision.models.resnet18(num_classes=10)
    resnet.conv1 = paddle.nn.Conv2D(1, 64, 7, stride=2, padding=3, bias_attr=False)
    nets["ResNet-18, 32 x 32"] = (resnet, (32, 32), max(2, pairs // 4))
    for name, (model, shape, count) in nets.items():
        turns, costs, size = measure(model, shape, count)
        ratios = [a / b - 1 for a, b in zip(islice(turns.blocks, 0, None, 2), islice(turns.blocks, 1, None, 2))]
        low, _, high = quantiles(ratios, n=4)
        print(
            f"{name}: step {median(turns.steps) * 1e3:.1f} ms; a save in memory {median(costs) * 1e3:.2f} ms for "
            f"{size / 2**20:.1f} MiB, {len(costs)} in {len(turns.blocks) // 2 * _BLOCK} steps; training so takes "
            f"{median(ratios):+.1%} ({low:+.1%} to {high:+.1%}, {len(ratios)} pairs)",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
