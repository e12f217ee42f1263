"""Trains fifteen steps on forty points, dies where it is told to, and may differ from its life before in one thing."""

import argparse
import os
import random
import signal
import sys

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Callback, Monitoring, SaveSchedule, StepOptions, Trainer
from paddle_resume.errors import PaddleResumeError
from paddle_resume.loggers import JsonlLogger
from paddle_resume.parallel.world import World

# Of forty these are looked at when a run starts, so that a change of them would be refused at once.
LOOKED_AT = {0, 5, 11, 16, 19, 22, 27, 33, 39}


class Points(paddle.io.Dataset):
    """Forty points of eight numbers, labelled by whether their sum is large."""

    def __init__(self, changed):
        self.x = np.random.default_rng(0).random((40, 8), np.float32)
        self.y = (self.x.sum(axis=1, keepdims=True) > 4).astype(np.int64)
        if changed:
            self.x[[index for index in range(40) if index not in LOOKED_AT]] += 0.001

    def __getitem__(self, index):
        return self.x[index], self.y[index]

    def __len__(self):
        return len(self.x)


class Stream(paddle.io.IterableDataset):
    """The same points, one after the other."""

    def __init__(self, points):
        self.points = points

    def __iter__(self):
        return (self.points[index] for index in range(len(self.points)))


class Fate(Callback):
    """Kills this process as it is about to make a step, and does in another what was not done the first time."""

    only_watches = True

    def __init__(self, options):
        self.options = options
        self.here = options.rank is None or options.rank == World.current().rank

    def on_step_begin(self, trainer):
        if self.here and trainer.step == self.options.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.here and trainer.step == self.options.stop:
            os.kill(os.getpid(), signal.SIGTERM)
        if trainer.step == self.options.at and self.here:
            if self.options.differ == "random":
                random.random()
            elif self.options.differ == "loss":
                weight = trainer.model.parameters()[0]
                weight.set_value(weight * 1.001)
            elif self.options.differ == "nan":
                weight = trainer.model.parameters()[0]
                weight.set_value(weight * float("nan"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", type=int)
    parser.add_argument("--stop", type=int)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--differ")
    parser.add_argument("--at", type=int, default=7)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--on-nan", default="stop")
    parser.add_argument("--every-steps", type=int, default=3)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--log-every", type=int, default=2)
    parser.add_argument("--check-resume", type=int)
    parser.add_argument("--resume", default="auto")
    parser.add_argument("--background", action="store_true")
    parser.add_argument("--allow-inexact", action="store_true")
    options = parser.parse_args()

    paddle_resume.seed_everything(3)
    points = Points(options.differ == "data")
    model = paddle.nn.Sequential(
        paddle.nn.Linear(8, 16), paddle.nn.Tanh(), paddle.nn.Dropout(0.2), paddle.nn.Linear(16, 2)
    )
    trainer = Trainer(
        model,
        paddle.optimizer.Momentum(0.1, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        logger=JsonlLogger("log"),
        callbacks=[Fate(options)],
        schedule=SaveSchedule(every_steps=options.every_steps, keep=options.keep, background=options.background),
        step=StepOptions(accumulate_steps=options.accumulate, on_nan=options.on_nan),
        monitoring=Monitoring(log_every=options.log_every, check_resume=options.check_resume),
    )
    try:
        trainer.train(
            Stream(points) if options.stream else points,
            epochs=options.epochs,
            global_batch_size=8,
            num_workers=options.workers,
            resume=options.resume,
            allow_inexact=options.allow_inexact,
        )
    except PaddleResumeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
