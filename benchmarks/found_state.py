"""What looking for state costs: the first look, and each look of a save, beside the steps of the same training.

python -m benchmarks.found_state [STEPS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from statistics import median, quantiles
from typing import Any

import numpy as np
import paddle

from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.models import MNIST
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.found_in_run import FOUND, FoundInRun
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.trainer import Trainer

_BATCH_SIZE = 32
_WARMUP = 3
"""Steps that do not count."""


class _Looks(Callback):
    """Times each step, and a look for state after it."""

    only_watches = True

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.looks: list[float] = []
        self._began = 0.0

    def on_step_begin(self, trainer: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, trainer: Any) -> None:
        made = time.perf_counter()
        trainer._parts.found.owners[FOUND].state_dict()
        if trainer.step > _WARMUP:
            self.steps.append(made - self._began)
            self.looks.append(time.perf_counter() - made)


def measure(model: paddle.nn.Layer, shape: tuple[int, ...], steps: int) -> tuple[_Looks, float]:
    """The looks of a training with Adam on images of this shape, and the seconds of the first look of all."""
    first: list[float] = []
    look = FoundInRun.look

    def timed(found: FoundInRun, *args: Any) -> None:
        began = time.perf_counter()
        look(found, *args)
        first.append(time.perf_counter() - began)

    FoundInRun.look = timed  # type: ignore[method-assign,assignment]
    looks = _Looks()
    count = (steps + _WARMUP) * _BATCH_SIZE
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            paddle.optimizer.Adam(parameters=model.parameters()),
            loss=paddle.nn.CrossEntropyLoss(),
            logger=None,
            console=False,
            callbacks=[looks],
            save_dir=folder,
            schedule=SaveSchedule(every_epochs=None),
        )
        trainer.train(ImageArrays(images, np.arange(count) % 10, num_classes=10), global_batch_size=_BATCH_SIZE)
    FoundInRun.look = look  # type: ignore[method-assign]
    return looks, first[0]


def main(arguments: list[str]) -> None:
    """Measure both nets, and print a line for each."""
    steps = int(arguments[0]) if arguments else 60
    nets: dict[str, tuple[paddle.nn.Layer, tuple[int, ...], int]] = {"MNIST net, 28 x 28": (MNIST(), (28, 28), steps)}
    resnet = paddle.vision.models.resnet18(num_classes=10)
    resnet.conv1 = paddle.nn.Conv2D(1, 64, 7, stride=2, padding=3, bias_attr=False)
    nets["ResNet-18, 64 x 64"] = (resnet, (64, 64), max(10, steps // 4))
    for name, (model, shape, count) in nets.items():
        looks, first = measure(model, shape, count)
        step, look = median(looks.steps), median(looks.looks)
        low, _, high = quantiles(looks.looks, n=4)
        print(
            f"{name}: step {step * 1e3:.1f} ms; a look {look * 1e3:.2f} ms ({low * 1e3:.2f} to {high * 1e3:.2f}), "
            f"{100 * look / step:.1f} % of a step, {look / step:.2f} % of training at a save every 100 steps; "
            f"the first look {first * 1e3:.0f} ms"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
