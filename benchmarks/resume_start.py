"""Runs that stop at a step, and one that is resumed there with two data workers; run in a process of its own.

python -m benchmarks.resume_start '{"part": "train", "steps": ..., "runs": [[STOP, FOLDER], ...]}'
python -m benchmarks.resume_start '{"part": "resume", "steps": ..., "folder": FOLDER}'
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from benchmarks.child_process import report
from paddle_resume.models import MLP
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.run_view import RunView
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.trainer import Trainer

BATCH_SIZE = 8
WORKERS = 2


class Images(paddle.io.Dataset):
    """Images that are drawn anew each time that one is asked for: loading them takes the time of a small decode."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image = np.random.default_rng(index).random((1, 28, 28), np.float32)
        return image, np.array([index % 10])

    def __len__(self) -> int:
        return self._count


def train(stop: int, steps: int, folder: Path, workers: int, callbacks: list[Callback]) -> None:
    """Train up to step `stop` of an epoch of `steps` steps, from wherever the run in `folder` stands."""
    model = MLP(hidden=32)
    trainer = Trainer(
        model,
        paddle.optimizer.Adam(parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        logger=None,
        console=False,
        save_dir=folder,
        schedule=SaveSchedule(every_epochs=None),
        callbacks=callbacks,
    )
    data = Images(BATCH_SIZE * steps)
    trainer.train(data, max_steps=stop, global_batch_size=BATCH_SIZE, num_workers=workers)


class _FirstStep(Callback):
    """Tells when the first step is done, and leaves at once, so that the checkpoint stays as it is."""

    def on_step_end(self, trainer: RunView) -> None:
        report({"first_step_at": time.time(), "step": trainer.step})
        os._exit(0)


if __name__ == "__main__":
    paddle.set_device("cpu")
    spec: dict[str, Any] = json.loads(sys.argv[1])
    if spec["part"] == "resume":
        train(spec["steps"], spec["steps"], Path(spec["folder"]), WORKERS, [_FirstStep()])
    else:
        for stop, folder in spec["runs"]:
            # How many workers there are does not alter what is fed, and a run without any is quick to stop.
            train(stop, spec["steps"], Path(folder), 0, [])
