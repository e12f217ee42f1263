"""A DataLoader's iterator that is put back goes on as if it had never been left."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_resume.errors import StateError
from paddle_resume.found_state.walker import Walker
from paddle_resume.suites.host_generators import host_state, set_host_state
from paddle_resume.suites.loader_iterator import _LIVE, LoaderIterator, go_on


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

    def __init__(self, dataset: Any, batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size

    def __len__(self) -> int:
        return 20 // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            yield [int(index) for index in np.random.randint(0, 21, self.batch_size)]


def loader_of(kind: str, size: int = 4) -> Any:
    if kind == "stream":
        return paddle.io.DataLoader(Stream(), batch_size=size)
    dataset = Samples(draws=kind != "plain", own=kind == "own generator", every=7 if kind == "sometimes" else 1)
    if kind == "draws as it goes":
        return paddle.io.DataLoader(dataset, batch_sampler=DrawsAsItGoes(dataset, size))
    return paddle.io.DataLoader(dataset, batch_size=size, shuffle=True, num_workers=2 if kind == "workers" else 0)


KINDS = ["drawing", "sometimes", "plain", "own generator", "stream", "draws as it goes", "workers"]


def batches_of(iterator: Any) -> list[bytes]:
    return [(batch[0] if isinstance(batch, (list, tuple)) else batch).numpy().tobytes() for batch in iterator]


def test_no_batch_is_made_ahead_while_a_save_looks_at_the_data() -> None:
    class Slow(Samples):
        def __getitem__(self, index: int) -> np.ndarray:
            time.sleep(0.01)
            return super().__getitem__(index)

    dataset = Slow(own=True)
    iterator = LoaderIterator(paddle.io.DataLoader(dataset, batch_size=4))
    next(iterator)
    iterator.before_save()
    given = dataset.given
    time.sleep(0.2)
    assert dataset.given == given
    iterator.release()
    assert len(batches_of(iterator)) == 5


def test_what_was_drawn_before_the_end_of_the_data_is_not_drawn_again() -> None:
    iterator = LoaderIterator(paddle.io.DataLoader(Samples(), batch_size=4))
    for _ in range(5):
        next(iterator)
        time.sleep(0.05)
        random.random()
    time.sleep(0.2)  # All is made ahead, and the sampler was asked for more after the last number was drawn.
    iterator.before_save()
    assert iterator.place is not None
    made, jumps = iterator.place[3], iterator.place[6]
    assert made == 6 and all(jump[0] < made for jump in jumps)
    iterator.stop()
    go_on([iterator], print)
    drawn = [random.random() for _ in range(3)]
    for _ in iterator:
        time.sleep(0.1)
    later = random.random()
    random.setstate(random.Random(0).getstate())
    assert later not in drawn


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


def wait_until_made(iterator: LoaderIterator) -> None:
    """Until the thread that makes batches ahead has made what it may, however busy the machine is."""
    live = _LIVE[iterator]
    made, still = -1, 0
    while still < 15:
        time.sleep(0.002)
        now = live.noting.made if live.noting is not None else 0
        thread = live.plain._thread if live.plain is not None else None
        # One that waits for room has begun none that it has not made, and stands still.
        is_at_work = live.noting is not None and live.noting._begun != now and thread is not None and thread.is_alive()
        still = 0 if now != made or is_at_work else still + 1
        made = now


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_does_where_others_draw_between_the_batches(kind: str) -> None:
    """As an evaluation does: of the batches that were made ahead some were made before that, and some after it."""
    random.seed(1)
    np.random.seed(1)
    loader = loader_of(kind, size=1)
    iterator = LoaderIterator(loader)
    walker = Walker({"iterator": iterator})

    def go_through(batches: int) -> list[bytes]:
        found = []
        for _ in range(batches):
            found += batches_of([next(iterator)])
            wait_until_made(iterator)
            found.append(np.random.rand(3).tobytes())
        return found

    go_through(6)
    iterator.before_save()
    record, arrays = walker.capture()
    arrays = {name: array.copy() for name, array in arrays.items()}
    generators = host_state()
    after = go_through(8)
    for _ in range(2):  # The second time it was itself put back before.
        np.random.seed(77)
        walker.restore(record, arrays)
        set_host_state(generators)
        go_on([iterator], print)
        iterator.before_save()
        record, arrays = walker.capture()
        arrays = {name: array.copy() for name, array in arrays.items()}
        assert go_through(8) == after
    iterator.stop()  # Workers that live on would hold what this process has open.


def test_too_many_draws_between_batches_that_have_to_be_made_again_are_refused() -> None:
    class Long(Stream):
        def __iter__(self) -> Iterator[np.ndarray]:
            while True:
                yield np.random.rand(1)

    iterator = LoaderIterator(paddle.io.DataLoader(Long(), batch_size=1))
    with pytest.raises(StateError, match="Draw it from a generator of its own, or use workers"):
        for _ in range(400):
            next(iterator)
            time.sleep(0.001)
            np.random.rand()
        iterator.before_save()
    iterator.stop()


def test_batches_are_not_made_again_where_their_place_is_known() -> None:
    class Counting(Samples):
        derived_attributes = ("made",)  # which is the test's, and is not put back
        made: list[int]

        def __getitem__(self, index: int) -> np.ndarray:
            self.made.append(index)
            return super().__getitem__(index)

    data = Counting()
    made = data.made = []
    loader = paddle.io.DataLoader(data, batch_size=4, shuffle=True)
    iterator = LoaderIterator(loader)
    for _ in range(4):
        next(iterator)
    iterator.before_save()
    iterator.stop()
    made.clear()
    go_on([iterator], print)
    batches_of(iterator)
    assert len(made) == 21 - 16
