"""Training of the digit network with and without saves; run in a process of its own.

python -m benchmarks.interference '{"way": ..., "warmup": ..., "steps": ..., "folder": ...}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle

from benchmarks.child_process import report
from benchmarks.saving import BACKGROUND, BATCH_SIZE, EVERY_STEPS, INLINE, PADDLE_SAVE
from benchmarks.stopwatch import Stopwatch
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.models import MNIST
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.run_view import RunView
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.trainer import Trainer


def train(way: str, warmup: int, steps: int, folder: Path) -> float:
    """The seconds of `steps` steps of batches in memory, with a save every EVERY_STEPS of them in the given way."""
    watch = Stopwatch(warmup, steps)
    model = MNIST()
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    ours = way in (BACKGROUND, INLINE)
    trainer = Trainer(
        model,
        optimizer,
        loss=paddle.nn.CrossEntropyLoss(),
        logger=None,
        console=False,
        save_dir=folder,
        schedule=SaveSchedule(every_epochs=None, every_steps=EVERY_STEPS if ours else None, background=way != INLINE),
        callbacks=[_EachStep(watch, folder if way == PADDLE_SAVE else None)],
    )
    random = np.random.default_rng(0)
    count = BATCH_SIZE * (watch.total + 1)  # The epoch does not end within what is timed.
    images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = random.integers(0, 10, count)
    trainer.train(ImageArrays(images, labels, num_classes=10), max_steps=watch.total, global_batch_size=BATCH_SIZE)
    assert watch.seconds is not None
    return watch.seconds


class _EachStep(Callback):
    def __init__(self, watch: Stopwatch, folder: Optional[Path]) -> None:
        self._watch = watch
        self._folder = folder

    def on_step_end(self, trainer: RunView) -> None:
        self._watch.step_done()
        if self._folder is not None and trainer.step % EVERY_STEPS == 0:
            paddle.save(trainer.model.state_dict(), str(self._folder / "paddle.pdparams"))
            optimizer: Any = trainer.optimizer
            paddle.save(optimizer.state_dict(), str(self._folder / "paddle.pdopt"))


if __name__ == "__main__":
    paddle.set_device("cpu")
    spec: dict[str, Any] = json.loads(sys.argv[1])
    report({"seconds": train(spec["way"], spec["warmup"], spec["steps"], Path(spec["folder"]))})
