"""A DataLoader's iterator that is put back goes on as if it had never been left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_resume.found_state.walker import Walker
from paddle_resume.suites.host_generators import host_state, set_host_state
from paddle_resume.suites.loader_iterator import LoaderIterator, go_on


class Samples(paddle.io.Dataset):
    """`draws`: from a global generator at each sample; `own`: from one of its own."""

    def __init__(self, draws: bool = True, own: bool = False, every: int = 1) -> None:
        self.draws, self.given, self.every = draws, 0, every
        self.own = np.random.RandomState(5) if own else None

    def __len__(self) -> int:
        return 21

    def __getitem__(self, index: int) -> np.ndarray:
        self.given += 1
        noise = np.random.rand() + random.random() if self.draws and index % self.every == 0 else 0.0
        noise += self.own.rand() if self.own is not None else 0.0
        return np.array([index, noise, self.given], np.float64)


class Stream(paddle.io.IterableDataset):
    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(21):
            yield np.array([index, np.random.rand()])


class DrawsAsItGoes(paddle.io.BatchSampler):
    """Takes each batch's indices from the generator that the samples draw from too."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(5):
            yield [int(index) for index in np.random.randint(0, 21, 4)]


def loader_of(kind: str) -> Any:
    if kind == "stream":
        return paddle.io.DataLoader(Stream(), batch_size=4)
    dataset = Samples(draws=kind != "plain", own=kind == "own generator", every=7 if kind == "sometimes" else 1)
    if kind == "draws as it goes":
        return paddle.io.DataLoader(dataset, batch_sampler=DrawsAsItGoes(dataset))
    return paddle.io.DataLoader(dataset, batch_size=4, shuffle=True, num_workers=2 if kind == "workers" else 0)


KINDS = ["drawing", "sometimes", "plain", "own generator", "stream", "draws as it goes", "workers"]


def batches_of(iterator: Any) -> list[bytes]:
    return [(batch[0] if isinstance(batch, (list, tuple)) else batch).numpy().tobytes() for batch in iterator]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seen", [0, 1, 3, 5])
def test_it_goes_on_where_it_was(kind: str, seen: int) -> None:
    random.seed(1)
    np.random.seed(1)
    loader = loader_of(kind)
    iterator = LoaderIterator(loader)
    walker = Walker({"iterator": iterator})
    before = [next(iterator) for _ in range(seen)]
    assert len(before) == seen
    iterator.before_save()
    record, arrays = walker.capture()
    arrays = {name: array.copy() for name, array in arrays.items()}
    generators = host_state()
    after = batches_of(iterator)
    drawn = np.random.rand()

    np.random.seed(77)
    random.seed(77)
    walker.restore(record, arrays)
    set_host_state(generators)
    told: list[str] = []
    go_on([iterator], told.append)
    assert batches_of(iterator) == after
    assert np.random.rand() == drawn
    assert iterator.is_through


def test_batches_are_not_made_again_where_their_place_is_known() -> None:
    made: list[int] = []

    class Counting(Samples):
        def __getitem__(self, index: int) -> np.ndarray:
            made.append(index)
            return super().__getitem__(index)

    loader = paddle.io.DataLoader(Counting(), batch_size=4, shuffle=True)
    iterator = LoaderIterator(loader)
    for _ in range(4):
        next(iterator)
    iterator.before_save()
    iterator.stop()
    made.clear()
    go_on([iterator], print)
    batches_of(iterator)
    assert len(made) == 21 - 16
