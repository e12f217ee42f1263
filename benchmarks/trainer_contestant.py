"""The trainer as a contestant, and how much of a step is its own; run in a process of its own.

python -m benchmarks.trainer_contestant (train|share) WARMUP STEPS DATA_FOLDER RESULT_FILE
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle

from benchmarks.stopwatch import Stopwatch
from paddle_resume.data.batch import Batch
from paddle_resume.data.feed import Feed
from paddle_resume.data.mnist import load_mnist
from paddle_resume.environment import Environment
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import Accuracy
from paddle_resume.models import MNIST
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.run_view import RunView
from paddle_resume.training.trainer import Trainer


def time_training(
    warmup: int,
    steps: int,
    data: Path,
    folder: Path,
    batch_size: int = 32,
    model: Optional[paddle.nn.Layer] = None,
) -> dict[str, Any]:
    """Train with the trainer's defaults, and the two logs of configs/mnist.yaml, in `folder`.

    Returns the seconds of `steps` steps, and the environment that they were made in.
    """
    watch = Stopwatch(warmup, steps)
    trainer = _trainer(Trainer, watch.total, folder, [_EachStep(watch)], model or MNIST())
    trainer.train(_training_data(data), max_steps=watch.total, global_batch_size=batch_size)
    return {"seconds": watch.seconds, "environment": Environment().state_dict()}


def time_share(warmup: int, steps: int, data: Path, folder: Path) -> dict[str, Any]:
    """How much of a step is not the step's work, for each of `steps` steps after the warm-up.

    A step is taken from the end of one `train_step` to the end of the next, so it lacks nothing that the loop
    does. Two clocks divide it: one around `train_step` (forward, loss, backward, optimizer, clear_grad: the
    work), one around the feed's next batch (gathering the rows, and to_tensor). What is left is the trainer's
    own: the metrics, the scheduler, the look at the loss, the callbacks, logging, the signals, the save clock.
    Freeing the tensors of the step before falls in there too.

    Returns the share of a step in percent: `own`, and `own_and_batch` with the feed; each as the median over the
    steps, and as `mean`, which alone shows what happens in a few steps only (the log, each 100 steps). The mean
    takes in whatever else the machine did meanwhile. Also the medians in milliseconds.
    """
    feed = _TimedFeed(_training_data(data))
    trainer = _trainer(_TimedTrainer, warmup + steps, folder, [], MNIST())
    trainer.train(feed, max_steps=warmup + steps)
    ends = np.array(trainer.ends)
    whole = np.diff(ends)[warmup - 1 :]
    work, batch = np.array(trainer.work)[warmup:], np.array(feed.seconds)[warmup : warmup + steps]
    own = whole - work - batch
    return {
        "own": _percent(own, whole),
        "own_and_batch": _percent(own + batch, whole),
        "milliseconds": {
            name: float(np.median(values)) * 1e3
            for name, values in (("step", whole), ("work", work), ("batch", batch), ("own", own))
        },
        "steps": len(whole),
        "environment": Environment().state_dict(),
    }


class _TimedTrainer(Trainer):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.work: list[float] = []
        self.ends: list[float] = []

    def train_step(self, batch: Batch) -> Any:
        begun = time.perf_counter()
        result = super().train_step(batch)
        end = time.perf_counter()
        self.work.append(end - begun)
        self.ends.append(end)
        return result


class _TimedFeed(Feed):
    def __init__(self, dataset: paddle.io.Dataset) -> None:
        super().__init__(dataset)
        self.seconds: list[float] = []

    def remaining(self) -> Iterator[Batch]:
        batches = super().remaining()
        while True:
            begun = time.perf_counter()
            batch: Optional[Batch] = next(batches, None)
            self.seconds.append(time.perf_counter() - begun)
            if batch is None:
                return
            yield batch


class _EachStep(Callback):
    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch

    def on_step_end(self, trainer: RunView) -> None:
        self._watch.step_done()


def _trainer(kind: type, total: int, folder: Path, callbacks: list[Callback], model: paddle.nn.Layer) -> Any:
    scheduler = paddle.optimizer.lr.PolynomialDecay(0.01, decay_steps=total, end_lr=0.001)
    return kind(
        model,
        paddle.optimizer.Adam(learning_rate=scheduler, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        metrics=[Accuracy()],
        save_dir=folder / "checkpoint",
        logger=[VisualDLLogger(folder / "log", "mnist"), JsonlLogger(folder / "log")],
        callbacks=callbacks,
    )


def _training_data(folder: Path) -> paddle.io.Dataset:
    return load_mnist(root=folder, valid=0).train


def _percent(part: np.ndarray, whole: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(part / whole)) * 100, "mean": float(part.sum() / whole.sum()) * 100}


if __name__ == "__main__":
    measure = {"train": time_training, "share": time_share}[sys.argv[1]]
    paddle.set_device("cpu")
    target = Path(sys.argv[5])
    result = measure(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), target.parent)
    target.write_text(json.dumps(result), encoding="utf-8")
