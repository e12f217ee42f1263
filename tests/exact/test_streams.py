"""Streams: from every batch of every epoch a resume reads on as if it had never stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.data.feed import Feed
from paddle_resume.data.stream import Stream
from paddle_resume.errors import DataError

EPOCHS = 3


class Drawn(paddle.io.IterableDataset):
    """Numbers that also tell what the global generators gave; it has no position."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[np.ndarray]:
        for number in range(self.count):
            yield self.sample(number)

    def sample(self, number: int) -> np.ndarray:
        return np.array([number, random.random(), np.random.rand()])


class BackAtItsEnd(Drawn):
    """Keeps a position, which goes back to 0 when a pass ends: the stream of docs/trainer.md."""

    position = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        while self.position < self.count:
            self.position += 1
            yield self.sample(self.position)
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


class BackAtItsStart(BackAtItsEnd):
    """Goes back to 0 when a pass begins that is not the rest of one."""

    resumed = False

    def __iter__(self) -> Iterator[np.ndarray]:
        self.position, self.resumed = (self.position, False) if self.resumed else (0, False)
        while self.position < self.count:
            self.position += 1
            yield self.sample(self.position)

    def set_state_dict(self, state: dict[str, Any]) -> None:
        super().set_state_dict(state)
        self.resumed = True


class Passes(BackAtItsEnd):
    """Gives other samples in each pass: it counts them as they end, and draws from a generator of its own."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.passes, self.own = 0, random.Random(5)

    def __iter__(self) -> Iterator[np.ndarray]:
        for sample in super().__iter__():
            yield np.array([*sample, self.passes, self.own.random()])
        self.passes += 1

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "passes": self.passes, "own": list(self.own.getstate()[1])}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.position, self.passes = state["position"], state["passes"]
        self.own.setstate((3, tuple(int(word) for word in state["own"]), None))


class Shuffled(Drawn):
    """Draws from a buffer that a source without end fills, of whose samples a pass takes `count`; hands out the
    buffer itself for a state."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.state: dict[str, Any] = {"buffer": list(range(5)), "read": 5, "given": 0}

    def __iter__(self) -> Iterator[np.ndarray]:
        state = self.state
        while state["given"] < self.count:
            at = random.randrange(5)
            number, state["buffer"][at] = state["buffer"][at], state["read"]
            state["read"] += 1
            state["given"] += 1
            yield self.sample(number)
        state["given"] = 0

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.state.update({**state, "buffer": list(state["buffer"])})


KINDS = (Drawn, BackAtItsEnd, BackAtItsStart, Passes, Shuffled)
Position = tuple[int, int]


def read(feed: Feed, until: Any = None) -> list[list[Any]]:
    """The batches up to the position `until`, an epoch and how many of its batches, or to the end of all epochs."""
    seen: list[list[Any]] = []
    while feed.epoch < EPOCHS and until != (feed.epoch, 0):
        made = -(-feed.samples // feed.batch_size)
        for batch in feed.remaining():
            made += 1
            seen.append([feed.epoch, *batch[0].numpy().tolist()])
            if until == (feed.epoch, made):
                return seen
        feed.finish_epoch()
    return seen


def resumed(kind: type[Drawn], count: int, drop_last: bool, until: Position) -> list[list[Any]]:
    """What is read up to there by one process, and from there on by another."""
    first = Feed(kind(count), batch_size=4, seed=7, drop_last=drop_last)
    seen = read(first, until)
    states = decode_state(encode_state("data", first.state_dict()))
    random.random(), np.random.rand()
    second = Feed(kind(count), batch_size=4, seed=7, drop_last=drop_last)
    second.set_state_dict(states)
    return seen + read(second)


def positions(count: int, drop_last: bool) -> list[Position]:
    batches = count // 4 if drop_last else -(-count // 4)
    return [(epoch, batch) for epoch in range(EPOCHS) for batch in range(batches + 1)][1:]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count", [3, 8, 9, 11])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_from_every_batch_and_between_epochs_reads_on(kind: type, count: int, drop_last: bool) -> None:
    straight = read(Feed(kind(count), batch_size=4, seed=7, drop_last=drop_last))
    batches = count // 4 if drop_last else -(-count // 4)
    assert len(straight) == EPOCHS * batches
    for until in positions(count, drop_last):
        assert resumed(kind, count, drop_last, until) == straight, f"from {until}"


@pytest.mark.parametrize("kind", [Passes, Shuffled])
def test_a_stream_whose_state_is_forgotten_shows(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = read(Feed(kind(9), batch_size=4, seed=7))
    assert resumed(kind, 9, False, (1, 0)) == straight
    monkeypatch.setattr(Stream, "set_state_dict", lambda self, state: None)
    assert resumed(kind, 9, False, (1, 0)) != straight


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_on_a_stream_gives_the_same_batches_each_time_and_moves_nothing(kind: type) -> None:
    stream = kind(9)
    feed = Feed(stream, batch_size=4, seed=7)
    first, second = ([batch[0].numpy().tolist() for batch in feed.from_start()] for _ in range(2))
    assert first == second and len(first) == 3
    next(feed.from_start())  # As a run tries one batch before it starts.
    assert read(Feed(stream, batch_size=4, seed=7)) == read(Feed(kind(9), batch_size=4, seed=7))


class Levelled(Drawn):
    """Leaves out what is below a level, which somebody else sets."""

    level = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for number in range(self.count):
            if number >= self.level:
                yield self.sample(number)


@pytest.mark.parametrize("level", [0, 3])
def test_other_samples_before_the_position_are_told(level: int) -> None:
    first = Feed(Levelled(20), batch_size=4, seed=7)
    batches = first.remaining()
    for _ in range(3):
        next(batches)
    state = decode_state(encode_state("data", first.state_dict()))
    second = Feed(Levelled(20), batch_size=4, seed=7)
    second.dataset.level = level
    second.set_state_dict(state)
    if level:
        with pytest.raises(DataError, match=r"The stream Levelled gives other samples now .* up to sample 12"):
            next(second.remaining())
    else:
        assert next(second.remaining())[0].numpy().tolist() == next(batches)[0].numpy().tolist()


class AnewAtEachIter(paddle.io.IterableDataset):
    """Begins anew whenever it is asked for an iterator, which is itself."""

    def __iter__(self) -> AnewAtEachIter:
        self.at = 0
        return self

    def __next__(self) -> np.ndarray:
        if self.at == 11:
            raise StopIteration
        self.at += 1
        return np.array([self.at, np.random.rand()])


def test_a_stream_that_is_its_own_iterator_is_gone_through_once() -> None:
    batches = [batch[0].numpy()[:, 0].tolist() for batch in Feed(AnewAtEachIter(), batch_size=4, seed=1).remaining()]
    assert batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]]


def test_a_stream_that_was_saved_by_an_earlier_version_reads_on() -> None:
    first = Feed(BackAtItsEnd(9), batch_size=4, seed=7)
    seen = read(first, (1, 1))
    state = first.state_dict()
    position = {key: state["stream"]["position"][key] for key in ("dataset", "random")}
    second = Feed(BackAtItsEnd(9), batch_size=4, seed=7)
    second.set_state_dict({**state, "stream": {"position": position}})
    assert seen + read(second) == read(Feed(BackAtItsEnd(9), batch_size=4, seed=7))
