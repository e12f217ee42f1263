"""Datasets, streams and collate functions, with state and generators of their own."""

from __future__ import annotations

import itertools
import random

import numpy as np
from paddle.io import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    WeightedRandomSampler,
    get_worker_info,
)


def numbers(count, seed=0):
    x = np.random.default_rng(seed).random((count, 8), np.float32)
    return x, (x.sum(axis=1, keepdims=True) > 4).astype(np.int64)


class Points(Dataset):
    """Points of eight numbers, labelled by whether their sum is large."""

    def __init__(self, count=38):
        self.x, self.y = numbers(count)

    def __getitem__(self, index):
        return self.x[index], self.y[index]

    def __len__(self):
        return len(self.x)


class Augmented(Points):
    """Draws from the global generators for each sample."""

    def __getitem__(self, index):
        drawn = random.random() + np.random.rand()
        return (self.x[index] + np.float32(0.1 * drawn)), self.y[index]


class Drawing(Points):
    """Draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.noise = np.random.default_rng(5)

    def __getitem__(self, index):
        return (self.x[index] + 0.1 * self.noise.random(8)).astype(np.float32), self.y[index]


class Harder(Points):
    """What a callback sets makes it harder; it is shuffled by one as well."""

    level = 0

    def __getitem__(self, index):
        return self.x[index] * np.float32(1 - 0.05 * self.level), self.y[index]

    def harder(self, by):
        self.level += 1
        by.shuffle(self.x)


class Replayed(IterableDataset):
    """A stream that has no position."""

    def __init__(self, count=38):
        self.x, self.y = numbers(count)

    def __iter__(self):
        for x, y in zip(self.x, self.y):
            yield x + np.float32(0.05 * np.random.rand()), y


class Positioned(IterableDataset):
    """A stream with a position, which goes back at its end, and counts how often it did."""

    def __init__(self, count=38):
        self.x, self.y = numbers(count)
        self.position = self.passes = 0

    def __iter__(self):
        while self.position < len(self.x):
            at, self.position = self.position, self.position + 1
            yield self.x[at] * np.float32(1 - 0.02 * self.passes), self.y[at]
        self.position, self.passes = 0, self.passes + 1

    def state_dict(self):
        return {"position": self.position, "passes": self.passes}

    def set_state_dict(self, state):
        self.position, self.passes = state["position"], state["passes"]


class Dealt(IterableDataset):
    """A stream that is dealt out to the workers that read it, with state in each of them."""

    def __init__(self, count=38):
        self.x, self.y = numbers(count)
        self.draw = random.Random(6)

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info is not None else (0, 1)
        for at in range(first, len(self.x), step):
            yield self.x[at] * np.float32(1 + 0.05 * self.draw.random()), self.y[at]


class Reading(IterableDataset):
    """A stream that holds what it reads from, beside numbers that it keeps."""

    def __init__(self, count=38):
        self.x, self.y = numbers(count)
        self.draw = random.Random(9)

    def __iter__(self):
        self.rows = zip(self.x, self.y)
        self.drawn = (self.draw.random() for _ in itertools.count())
        for x, y in self.rows:
            yield x * np.float32(1 + 0.05 * next(self.drawn)), y


class HardFirst(Sampler):
    """An order of a user's: by a score that it keeps and moves."""

    def __init__(self, data_source):
        super().__init__(data_source)
        self.scores = np.random.default_rng(8).random(len(data_source))

    def __len__(self):
        return len(self.scores)

    def __iter__(self):
        order = np.argsort(self.scores, kind="stable")
        self.scores = np.roll(self.scores, 5) * 0.9
        return iter(order.tolist())


class Alternating(BatchSampler):
    """Batches of a user's, which grow and shrink with each epoch."""

    def __init__(self, dataset):
        self.count, self.epochs = len(dataset), 0

    def __iter__(self):
        size, self.epochs = 6 + self.epochs % 3, self.epochs + 1
        order = np.random.permutation(self.count).tolist()
        for start in range(0, self.count, size):
            yield order[start : start + size]

    def __len__(self):
        return -(-self.count // (6 + self.epochs % 3))


DATA = {
    "points": Points,
    "augmented": Augmented,
    "drawing": Drawing,
    "harder": Harder,
    "replayed": Replayed,
    "positioned": Positioned,
    "dealt": Dealt,
    "reading": Reading,
}
STREAMS = ("replayed", "positioned", "dealt", "reading")


def together(samples):
    return [np.stack(column) for column in zip(*samples)]


class Collate:
    """Counts its calls, which decide what it gives."""

    def __init__(self):
        self.calls, self.draw = 0, random.Random(4)

    def __call__(self, samples):
        self.calls += 1
        x, y = zip(*samples)
        scale = np.float32(1 + 0.01 * (self.calls % 5) + 0.01 * self.draw.random())
        return [np.stack(x) * scale, np.stack(y)]


def _closure():
    calls = 0

    def collate(samples):
        nonlocal calls
        calls += 1
        x, y = together(samples)
        return [x * np.float32(1 + 0.01 * (calls % 5)), y]

    return collate


COLLATES = {"none": lambda: None, "function": lambda: together, "object": Collate, "closure": _closure}
ORDERS = ("shuffled", "in-order", "replacement", "fewer", "weighted", "own", "own batches")
SAMPLERS = {
    "replacement": lambda data: RandomSampler(data, replacement=True, num_samples=45),
    "fewer": lambda data: RandomSampler(data, num_samples=27),
    "weighted": lambda data: WeightedRandomSampler([1 + at % 4 for at in range(len(data))], 41),
    "own": HardFirst,
}


def loader(description):
    """The training data of a description as a DataLoader."""
    data = DATA[description["data"]]()
    collate = COLLATES[description["collate"]]()
    options = {"collate_fn": collate, "num_workers": description["workers"]}
    if description["data"] in STREAMS:
        return DataLoader(data, batch_size=8, drop_last=description["drop_last"], **options)
    order = description["order"]
    if order in ("shuffled", "in-order"):
        return DataLoader(
            data, batch_size=8, shuffle=order == "shuffled", drop_last=description["drop_last"], **options
        )
    if order == "own batches":
        return DataLoader(data, batch_sampler=Alternating(data), **options)
    sampler = BatchSampler(sampler=SAMPLERS[order](data), batch_size=8, drop_last=description["drop_last"])
    return DataLoader(data, batch_sampler=sampler, **options)
