"""What the small suites here train: data that draw, a net with state of several kinds, logs, and an end on demand."""

import collections
import logging
import os
import pickle
import random
import signal
import sys
from pathlib import Path

import numpy as np
import paddle
import visualdl

OUT = Path(os.environ.get("PADDLE_RESUME_OUT", "out"))
WORKERS = int(os.environ.get("PADDLE_RESUME_WORKERS", "0"))
CURVES = []
SEED = int(os.environ.get("PADDLE_RESUME_SEED", "3"))
paddle.seed(SEED)
np.random.seed(SEED)
random.seed(SEED)


class Samples(paddle.io.Dataset):
    """Draws from two global generators, counts what it gave, and sees a number that the program sets.

    What is looked at while the training's batches are made ahead has to draw nothing: who of the two is first hangs on
    how quick the machine is, also in a program that nobody interrupts.
    """

    draws = True

    def __init__(self, count, own_generator=False):
        self.x = np.random.RandomState(1).rand(count, 8).astype("float32")
        self.given, self.epoch = 0, 0
        self.own = np.random.RandomState(7) if own_generator else None

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.given += 1
        if not self.draws:
            return self.x[index], np.int64(self.x[index].sum() > 4)
        noise = np.random.rand() * 0.1 + random.random() * 0.1 + self.epoch * 0.01
        noise += self.own.rand() * 0.1 if self.own is not None else 0.0
        return self.x[index] + np.float32(noise), np.int64(self.x[index].sum() > 4)


class Smoothed:
    """Median and mean of the last values, as the suites keep them."""

    def __init__(self, window=5):
        self.values = collections.deque(maxlen=window)
        self.total, self.count = 0.0, 0

    def update(self, value):
        self.values.append(value)
        self.total += value
        self.count += 1

    @property
    def median(self):
        return float(np.median(self.values))


def make_net():
    return paddle.nn.Sequential(
        paddle.nn.Linear(8, 16), paddle.nn.BatchNorm1D(16), paddle.nn.ReLU(), paddle.nn.Dropout(0.3),
        paddle.nn.Linear(16, 2),
    )  # fmt: skip


def make_loader(count=29, batch_size=8, shuffle=True, **options):
    samples = Samples(count, **options)
    samples.draws = shuffle
    return paddle.io.DataLoader(samples, batch_size=batch_size, shuffle=shuffle, num_workers=WORKERS if shuffle else 0)


def loss_of(net, x, y):
    return paddle.nn.functional.cross_entropy(net(x), y)


def validate(net, loader):
    net.eval()
    losses = [float(loss_of(net, x, y)) for x, y in loader]
    net.train()
    return sum(losses) / len(losses)


def open_log():
    OUT.mkdir(exist_ok=True)
    log = logging.getLogger("fake")
    log.setLevel(logging.INFO)
    log.addHandler(logging.FileHandler(OUT / "train.log", mode="w"))
    log.info("begins")
    CURVES.append(visualdl.LogWriter(str(OUT / "log")))
    return log, CURVES[-1]


def may_die(step):
    """Ends this process as PADDLE_RESUME_DIE says, such as 5:SIGKILL, once."""
    die = os.environ.get("PADDLE_RESUME_DIE", "")
    if die and step == int(die.partition(":")[0]):
        os.kill(os.getpid(), getattr(signal, die.partition(":")[2]))


def write(**things):
    CURVES[-1].close()  # VisualDL's own writer may lose what it has not written by then.
    draws = [random.random() if not WORKERS else 0.0, float(paddle.rand([1]).numpy()[0])]
    with (OUT / "final.pickle").open("wb") as file:
        pickle.dump(_plain({**things, "draws": draws}), file)


def _plain(thing):
    if isinstance(thing, dict):
        return {key: _plain(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple, collections.deque)):
        return [*map(_plain, thing)]
    return (
        (thing.numpy() if isinstance(thing, paddle.Tensor) else thing).tobytes() if hasattr(thing, "shape") else thing
    )


def state(net, optimizer):
    return {"net": net.state_dict(), "optimizer": optimizer.state_dict()}


argument = sys.argv[1] if len(sys.argv) > 1 else ""
