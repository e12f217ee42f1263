"""Fits of `paddle.Model` for the tests: data, networks, callbacks, and one life of a run with ExactResume."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.reader import load
from paddle_resume.hapi import ExactResume
from paddle_resume.training.save_schedule import SaveSchedule


class Crash(Exception):
    """Ends a fit where it stands, with nothing told to anyone; the objects it had are thrown away."""


class CrashAt(paddle.callbacks.Callback):
    """Raises Crash in the event `name` the n-th time that it comes, if there is an `at`, `(name, n)`."""

    derived_attributes = ("_name", "_left")

    def __init__(self, at: Optional[tuple[str, int]]) -> None:
        super().__init__()
        self._name, count = at or ("", 0)
        self._left = iter(range(count))

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_") and self._name == name and next(self._left, None) is None:
            raise Crash
        return super().__getattribute__(name)


class History(paddle.callbacks.Callback):
    """Notes what it is told, and draws from every generator, as a callback of a user's may."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.epochs_begun = 0
        self.weights = paddle.zeros([2])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs_begun += 1

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        drawn = random.random() + np.random.rand() + paddle.rand([1]).item()
        self.seen.append(["batch", step, logs["step"], logs["loss"][0], logs["batch_size"], drawn])
        self.weights = self.weights + step

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(["epoch", epoch, dict(logs)])

    def on_eval_end(self, logs: Any = None) -> None:
        self.seen.append(["eval", dict(logs)])


class Counting(History):
    """The same with state methods of its own."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "begun": self.epochs_begun}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.seen, self.epochs_begun = state["seen"], state["begun"]


class Points(paddle.io.Dataset):
    """Points of eight numbers with noise, labelled by whether their sum is large."""

    def __init__(self, count: int = 52, seed: int = 0, noise: float = 0.1) -> None:
        self.x = np.random.RandomState(seed).rand(count, 8).astype(np.float32)
        self.noise = noise

    def __getitem__(self, index: int) -> Any:
        x = self.x[index]
        return x + np.float32(self.noise * np.random.rand()), np.array([x.sum() > 4], np.int64)

    def __len__(self) -> int:
        return len(self.x)


class Nested(Points):
    """The same with two inputs, in a nest."""

    def __getitem__(self, index: int) -> Any:
        x, label = super().__getitem__(index)
        return (x[:3], x[3:]), label


class Stream(paddle.io.IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        for _ in range(30):
            x = np.random.rand(8).astype(np.float32)
            yield x, np.array([x.sum() > 4], np.int64)


class Drawing(Points):
    """Noise of a generator of its own, and of how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.draw, self.asked = random.Random(4), [0]

    def __getitem__(self, index: int) -> Any:
        self.asked[0] += 1
        x, label = super().__getitem__(index)
        return x + np.float32(0.1 * self.draw.random() + 0.01 * (self.asked[0] % 7)), label


class KeepingStream(Stream):
    """The same, with numbers that it keeps from pass to pass, in itself and in its class."""

    passes = 0

    def __init__(self) -> None:
        self.draw, self.asked = random.Random(4), 0

    def __iter__(self) -> Iterator[Any]:
        type(self).passes += 1
        for x, label in super().__iter__():
            self.asked += 1
            yield x + np.float32(0.1 * self.draw.random() + 0.01 * (self.asked % 7) + 0.1 * self.passes), label


class ReadingStream(Stream):
    """The same, with what it reads from at hand, which no record can hold."""

    def __iter__(self) -> Iterator[Any]:
        self.reader = (each for each in super().__iter__())
        self.rows = map(tuple, self.reader)
        while (row := next(self.rows, None)) is not None:
            yield row


class EveryOther(paddle.io.Sampler):
    """Begins one further on in each pass."""

    passes = 0

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        return iter([(2 * i + self.passes) % 52 for i in range(26)])

    def __len__(self) -> int:
        return 26


class Scaling:
    """A collate function that counts."""

    calls = 0

    def __call__(self, samples: list[Any]) -> Any:
        self.calls += 1
        return [np.stack(each) * (1 + self.calls % 3 if each[0].dtype == np.float32 else 1) for each in zip(*samples)]


class Net(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.body = paddle.nn.Sequential(
            paddle.nn.Linear(8, 16), paddle.nn.BatchNorm1D(16), paddle.nn.Dropout(0.3), paddle.nn.Linear(16, 2)
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.body(x)


class NetOfTwo(Net):
    def forward(self, x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
        return self.body(paddle.concat([x, y], axis=1))


def restarts() -> Any:
    return paddle.optimizer.lr.CosineAnnealingWarmRestarts(0.05, 5)


def loader(**options: Any) -> paddle.io.DataLoader:
    return paddle.io.DataLoader(Points(), batch_size=8, **options)


def sampled(sampler: Any) -> paddle.io.DataLoader:
    return paddle.io.DataLoader(Points(), batch_sampler=paddle.io.BatchSampler(sampler=sampler, batch_size=8))


def keeping_stream() -> dict[str, Any]:
    KeepingStream.passes = 0  # as in a new process
    return {"train_data": paddle.io.DataLoader(KeepingStream(), batch_size=8)}


hapi = paddle.callbacks
# Made anew for each life of a fit. 52 samples are 7 batches of 8.
ROWS: dict[str, Any] = {
    "plain": dict,
    "no evaluation": lambda: {"eval_data": None},
    "no evaluation in some epochs": lambda: {"eval_freq": 2},
    "early stopping": lambda: {"callbacks": [hapi.EarlyStopping("acc", patience=2)], "epochs": 9},
    "a rate that falls on a plateau": lambda: {"callbacks": [hapi.ReduceLROnPlateau("loss", patience=1, min_delta=1)]},
    "a rate that falls by epoch": lambda: {"callbacks": [hapi.LRScheduler(False, True)], "rate": restarts()},
    "a rate that falls by step": lambda: {"rate": restarts()},
    "gradients of three batches": lambda: {"accumulate_grad_batches": 3},
    "a number of iterations": lambda: {"num_iters": 19, "epochs": 1},
    "a user's callback": lambda: {"callbacks": [History()]},
    "two of them with state methods": lambda: {"callbacks": [Counting(), Counting()]},
    "a DataLoader": lambda: {"train_data": loader(shuffle=True, drop_last=True), "eval_data": loader()},
    "two workers": lambda: {"num_workers": 2},
    "a nest of inputs": lambda: {"net": NetOfTwo, "train_data": Nested(), "eval_data": Nested(20)},
    "a stream": lambda: {"train_data": paddle.io.DataLoader(Stream(), batch_size=8)},
    "a dataset that keeps state": lambda: {"train_data": Drawing()},
    "a stream that keeps state": keeping_stream,
    "a stream that holds its readers": lambda: {"train_data": paddle.io.DataLoader(ReadingStream(), batch_size=8)},
    "a sampler that keeps state": lambda: {"train_data": sampled(EveryOther())},
    "a collate function that keeps state": lambda: {"train_data": loader(collate_fn=Scaling())},
    "an evaluation on batches made by hand": lambda: {"eval_data": by_hand()},
    "mixed precision": lambda: {"amp": "O1"},
    "several metrics": lambda: {"metrics": [paddle.metric.Accuracy((1, 2)), Positives()]},
}


def by_hand() -> list[Any]:
    return [[paddle.to_tensor(Points(8).x), paddle.ones([8, 1], "int64")]]


class Positives(paddle.metric.Metric):
    """A metric of a user's: an array, and a sum in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def update(self, labels: Any) -> None:
        self.counts += np.bincount(labels.reshape(-1), minlength=2)
        self.share = np.float32(self.share + labels.mean())

    def compute(self, output: Any, labels: Any) -> Any:
        return labels

    def accumulate(self) -> float:
        return float(self.counts[1] + self.share)

    def reset(self) -> None:
        self.counts, self.share = np.zeros(2, np.int64), np.float32(0)

    def name(self) -> str:
        return "positives"


@paddle.utils.unique_name.guard()  # parameters are called as in a new process
def fit(folder: Path, row: dict[str, Any], crash: Optional[tuple[str, int]] = None, **exact: Any) -> paddle.Model:
    """One life of a fit, on new objects."""
    paddle_resume.seed_everything(3)
    options = {"train_data": Points(), "eval_data": Points(20, 1, 0.0), "epochs": 3, "batch_size": 8, **row}
    given = options.pop("callbacks", [])
    model = paddle.Model(options.pop("net", Net)())
    rate, metrics = options.pop("rate", 0.05), options.pop("metrics", paddle.metric.Accuracy())
    optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters())
    model.prepare(optimizer, paddle.nn.CrossEntropyLoss(), metrics, amp_configs=options.pop("amp", None))
    schedule = exact.pop("schedule", SaveSchedule(every_steps=2, background=False))
    exact_resume = ExactResume(folder / "checkpoint", schedule=schedule, **exact)
    callbacks = [hapi.VisualDL(str(folder / "log")), *given, exact_resume, CrashAt(crash)]
    model.fit(verbose=0, save_dir=str(folder / "output"), callbacks=callbacks, **options)
    return model


def record(folder: Path) -> Any:
    return load(find_all(folder / "checkpoint")[0].prefix).record
