"""Streams that several workers read: from every batch of every epoch a resume reads on as if it had never stopped."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import pytest
from small_run import trainer, weights
from test_streams import EPOCHS, BackAtItsEnd, BackAtItsStart, Drawn, Passes, Shuffled, read

from paddle_resume import Callback
from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.data.feed import Feed
from paddle_resume.data.stream_workers import WorkerStreams
from paddle_resume.errors import DataError


class Split(Drawn):
    """Each worker's part is its own, and one is far longer than the others."""

    def __iter__(self) -> Iterator[np.ndarray]:
        info = paddle.io.get_worker_info()
        assert info is not None
        for number in range(info.id, self.count * (1 + info.id), info.num_workers):
            yield self.sample(number)


class SplitAndKept(BackAtItsEnd):
    """The same with a position."""

    def __iter__(self) -> Iterator[np.ndarray]:
        info = paddle.io.get_worker_info()
        while self.position < self.count - 3 * info.id:
            self.position += 1
            yield self.sample(100 * info.id + self.position)
        self.position = 0


KINDS = (Drawn, Split, SplitAndKept, BackAtItsEnd, BackAtItsStart, Passes, Shuffled)
BY_DEFAULT = (Split, BackAtItsStart, Shuffled)


def feed(kind: type[Drawn], workers: int, drop_last: bool = False) -> Feed:
    return Feed(kind(9), batch_size=4, seed=7, num_workers=workers, drop_last=drop_last)


def read_until(fed: Feed, batches: int) -> list[list[Any]]:
    """So many batches, going on from epoch to epoch; the last of an epoch ends it if one more is asked for."""
    seen: list[list[Any]] = []
    while fed.epoch < EPOCHS:
        for batch in fed.remaining():
            seen.append([fed.epoch, *batch[0].numpy().tolist()])
            if len(seen) == batches:
                return seen
        fed.finish_epoch()
    return seen


@pytest.mark.parametrize("drop_last", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "kind", [pytest.param(each, marks=() if each in BY_DEFAULT else pytest.mark.full) for each in KINDS]
)
def test_a_resume_from_every_batch_reads_on(kind: type[Drawn], drop_last: bool) -> None:
    straight = read(feed(kind, 2, drop_last))
    assert read(feed(kind, 2, drop_last)) == straight
    for batches in range(1, len(straight)):
        first = feed(kind, 2, drop_last)
        seen = read_until(first, batches)
        state = decode_state(encode_state("data", first.state_dict()))
        random.random(), np.random.rand()
        second = feed(kind, 2, drop_last)
        second.set_state_dict(state)
        assert seen + read(second) == straight, f"from batch {batches}"


def test_a_resume_between_two_epochs_reads_on() -> None:
    straight = read(feed(Passes, 3))
    first = feed(Passes, 3)
    seen = read(first, (2, 0))
    second = feed(Passes, 3)
    second.set_state_dict(decode_state(encode_state("data", first.state_dict())))
    assert seen + read(second) == straight


@pytest.mark.parametrize("kind", [Split, Passes, Shuffled])
def test_streams_whose_positions_are_forgotten_show(kind: type[Drawn], monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    straight = read(feed(kind, 2))
    first = feed(kind, 2)
    seen = read_until(first, 5)
    state = first.state_dict()
    monkeypatch.setattr(WorkerStreams, "set_state_dict", lambda self, state: None)
    second = feed(kind, 2)
    second.set_state_dict(state)
    assert seen + read(second) != straight


def test_every_worker_reads_its_part_and_draws_for_itself() -> None:
    rows = [row for row in read(feed(Split, 3)) if row[0] == 0]
    numbers = [sample[0] for row in rows for sample in row[1:]]
    assert sorted(numbers) == sorted(n for i in range(3) for n in range(i, 9 * (1 + i), 3))
    drawn = [sample[1] for row in rows for sample in row[1:]]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_gives_the_same_batches_each_time_and_moves_nothing(kind: type[Drawn]) -> None:
    fed = feed(kind, 2)
    first, second = ([batch[0].numpy().tolist() for batch in fed.from_start()] for _ in range(2))
    assert first == second
    next(fed.from_start())
    assert read(fed) == read(feed(kind, 2))


def test_another_number_of_workers_is_a_difference() -> None:
    state = feed(Split, 2).state_dict()
    (found,) = feed(Split, 3).differences(state)
    assert str(found) == "data num_workers: 2 -> 3"
    with pytest.raises(DataError, match="another number of workers"):
        feed(Split, 3).set_state_dict(state)


class Fails(Split):
    def __iter__(self) -> Iterator[np.ndarray]:
        yield self.sample(0)
        raise {"key": KeyError("no such shard"), "data": DataError("shard 3 is damaged")}[self.how]

    how = "key"


def test_a_failure_in_a_worker_reaches_a_person_and_a_dead_worker_is_told() -> None:
    with pytest.raises(DataError, match="Data worker 0 failed with KeyError: 'no such shard'"):
        read(feed(Fails, 2))
    broken = Fails(9)
    broken.how = "data"
    with pytest.raises(DataError, match="^Data worker 0: shard 3 is damaged$"):
        read(Feed(broken, batch_size=4, num_workers=2))

    class Dies(Split):
        def __iter__(self) -> Iterator[np.ndarray]:
            os.kill(os.getpid(), signal.SIGKILL)
            yield self.sample(0)

    with pytest.raises(DataError, match=r"A data worker \(pid \d+\) was killed by signal 9"):
        read(Feed(Dies(9), batch_size=4, num_workers=2))


class Labelled(Split):
    """Samples for the small run, some more for the second worker."""

    def __iter__(self) -> Iterator[Any]:
        for sample in super().__iter__():
            yield np.full(8, sample[1], np.float32), np.int64(sample[2] > 0.5)


class Stop(Callback):
    def __init__(self, at: int) -> None:
        self._at = at

    def on_step_end(self, run: Any) -> None:
        if run.step == self._at:
            raise OSError("a kill")


def test_a_trainer_goes_on_in_the_middle_of_an_epoch(tmp_path: Any) -> None:
    def run(folder: Any, at: int = 0) -> Any:
        made = trainer(folder, every_steps=2, callbacks=[Stop(at)])
        made.train(Labelled(40), epochs=2, global_batch_size=8, num_workers=2)
        return made

    straight = run(tmp_path / "straight")
    for at in (3, 6, 11):
        folder = tmp_path / str(at)
        with pytest.raises(OSError, match="a kill"):
            run(folder, at)
        again = run(folder)
        assert again.restored is not None and again.step == straight.step
        assert weights(again) == weights(straight)
