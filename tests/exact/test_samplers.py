"""Any sampler, from every batch of every epoch: a resume goes on with the batches that would have come."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
import pytest
from small_run import Points, trainer, weights

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
from paddle.io import (
    BatchSampler,
    DataLoader,
    DistributedBatchSampler,
    RandomSampler,
    Sampler,
    SequenceSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.data.feed import Feed
from paddle_resume.data.sampled_order import SampledOrder
from paddle_resume.errors import DataError, InexactResumeError

EPOCHS, LENGTH = 3, 23
WEIGHTS = np.linspace(0.1, 2.0, LENGTH)


class Numbers(paddle.io.Dataset):
    """Each number with what the transforms draw for it."""

    def __getitem__(self, index: int) -> Any:
        return np.array([index, np.random.rand()])

    def __len__(self) -> int:
        return LENGTH


class Backwards(Sampler):
    def __iter__(self) -> Iterator[int]:
        return iter(range(LENGTH - 1, -1, -1))

    def __len__(self) -> int:
        return LENGTH


class ByPython(Backwards):
    """Draws from Python's generator."""

    def __iter__(self) -> Iterator[int]:
        order = list(range(LENGTH))
        random.shuffle(order)
        return iter(order)


class Own(Backwards):
    """Has a generator and a counter of its own, which go on from epoch to epoch."""

    def __init__(self) -> None:
        super().__init__(Numbers())
        self.random, self.passes = np.random.RandomState(5), 0

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        return iter([int(i) for i in np.roll(self.random.permutation(LENGTH), self.passes)])


class Buckets:
    """Batches of different sizes, drawn by themselves."""

    batch_size = 6

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.permutation(LENGTH).tolist()
        for size in (2, 6, 3, 5, 1, 6):
            yield order[:size]
            order = order[size:]

    def __len__(self) -> int:
        return 6


def batched(sampler: Any) -> Any:
    return BatchSampler(sampler=sampler, batch_size=4)


SAMPLERS: dict[str, Callable[[], Any]] = {
    "RandomSampler": lambda: batched(RandomSampler(Numbers())),
    "RandomSampler of some, again and again": lambda: batched(RandomSampler(Numbers(), True, 11)),
    "RandomSampler over a part": lambda: batched(RandomSampler(range(9))),
    "SequenceSampler over a part": lambda: batched(SequenceSampler(range(9))),
    "SubsetRandomSampler": lambda: batched(SubsetRandomSampler([1, 3, 5, 7, 11, 13, 17])),
    "WeightedRandomSampler": lambda: batched(WeightedRandomSampler(WEIGHTS, 19)),
    "WeightedRandomSampler of a list": lambda: batched(WeightedRandomSampler(list(map(float, WEIGHTS)), 19)),
    "WeightedRandomSampler without replacement": lambda: batched(WeightedRandomSampler(WEIGHTS, 19, False)),
    "BatchSampler that drops": lambda: BatchSampler(
        sampler=WeightedRandomSampler(WEIGHTS, 19), batch_size=4, drop_last=True
    ),
    "DistributedBatchSampler": lambda: DistributedBatchSampler(Numbers(), 4, shuffle=True),
    "DistributedBatchSampler of one of two": lambda: DistributedBatchSampler(Numbers(), 4, 2, 1, shuffle=True),
    "in an order of its own": lambda: batched(Backwards(Numbers())),
    "from Python's generator": lambda: batched(ByPython(Numbers())),
    "with state of its own": lambda: batched(Own()),
    "batches of different sizes": Buckets,
}
KEEPS_STATE = "with state of its own"


def feed(kind: str, workers: int = 0) -> Feed:
    loader = DataLoader(Numbers(), batch_sampler=SAMPLERS[kind](), num_workers=workers)
    return Feed.of(loader, seed=7)


def read(fed: Feed, until: Any = None) -> list[list[Any]]:
    """The batches up to `until`, an epoch and how many of its batches, or to the end of all epochs."""
    seen: list[list[Any]] = []
    while fed.epoch < EPOCHS and until != (fed.epoch, 0):
        made = fed.batches_in_epoch if fed.samples else 0
        for batch in fed.remaining():
            made += 1
            assert made == fed.batches_in_epoch
            seen.append([fed.epoch, *batch[0].numpy().tolist()])
            if until == (fed.epoch, made):
                return seen
        assert fed.exhausted and made == fed.batches_per_epoch
        fed.finish_epoch()
    return seen


def resumed(kind: str, until: tuple[int, int], workers: int = 0) -> list[list[Any]]:
    """What is read up to there by one process, and from there on by another; the run's owner of what is found is
    played by a copy."""
    first = feed(kind)
    seen = read(first, until)
    state = decode_state(encode_state("data", first.state_dict()))
    random.random(), np.random.rand()
    second = feed(kind, workers)
    if first.sampler is not None:
        second._order._sampler = copy.deepcopy(first.sampler)
    assert second.differences(state) == []
    second.set_state_dict(state)
    return seen + read(second)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_resume_from_every_batch_and_between_epochs_goes_on(kind: str) -> None:
    straight = read(feed(kind))
    batches = feed(kind).batches_per_epoch
    assert len(straight) == EPOCHS * batches
    for until in [(epoch, batch) for epoch in range(EPOCHS) for batch in range(batches + 1)][1:]:
        assert resumed(kind, until) == straight, f"from {until}"
    assert resumed(kind, (1, 1), workers=2) == straight


def test_the_order_of_paddles_samplers_is_another_in_each_epoch() -> None:
    for kind in ("WeightedRandomSampler", "SubsetRandomSampler", "DistributedBatchSampler"):
        rows = read(feed(kind))
        epochs = [[row[1:] for row in rows if row[0] == epoch] for epoch in range(EPOCHS)]
        assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("kind", ["with state of its own", "from Python's generator", "WeightedRandomSampler"])
def test_an_order_that_is_not_put_back_shows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without the seed of the epoch, or without the order that was saved."""
    straight = read(feed(kind))
    if kind == KEEPS_STATE:
        monkeypatch.setattr(SampledOrder, "set_state_dict", lambda self, epoch, state: None)
    else:
        monkeypatch.setattr("paddle_resume.data.sampled_order.seed_sample", lambda *key: np.random.seed(None))
        monkeypatch.setattr(SampledOrder, "set_state_dict", lambda self, epoch, state: random.seed())
        monkeypatch.setattr(Feed, "differences", lambda self, state: [])
    assert resumed(kind, (1, 2)) != straight


def test_the_processes_batches_of_a_distributed_sampler_make_one_batch_of_all() -> None:
    def rank(number: int) -> Feed:
        sampler = DistributedBatchSampler(Numbers(), 4, 2, number, shuffle=True)
        return Feed.of(DataLoader(Numbers(), batch_sampler=sampler), seed=7, rank=number, size=2)

    for number in range(2):
        sampler = DistributedBatchSampler(Numbers(), 4, 2, number, shuffle=True)
        sampler.set_epoch(0)
        mine = [batch[0].numpy()[:, 0].astype(int).tolist() for batch in rank(number).remaining()]
        assert mine == list(sampler)


def test_what_cannot_be_had_again_is_refused_by_name() -> None:
    def fed(sampler: Any, **options: Any) -> Feed:
        return Feed.of(DataLoader(Numbers(), batch_sampler=sampler), seed=7, **options)

    with pytest.raises(DataError, match=r"RandomSampler\(generator=\) takes its order from a generator"):
        fed(batched(RandomSampler(Numbers(), generator=iter(range(LENGTH)))))
    holds = Own()
    holds.held = (i for i in range(3))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="BatchSampler of Own cannot be copied.*Have it hold no generator"):
        fed(batched(holds))
    with pytest.raises(DataError, match="one for 3 processes, and 2 train together"):
        fed(DistributedBatchSampler(Numbers(), 4, 3, 0), size=2)
    with pytest.raises(DataError, match="keeps state of its own, which an evaluation would move"):
        next(fed(batched(Own())).from_start())
    with pytest.raises(DataError, match="ResumableBatchSampler is for loops of your own"):
        fed(paddle_resume.ResumableBatchSampler(Numbers(), 4))


def data(kind: str) -> Any:
    samplers = {
        "weighted": lambda: batched(WeightedRandomSampler(np.linspace(0.1, 2, 40), 36)),
        "own": lambda: OwnOf40(),
    }
    return DataLoader(Points(), batch_sampler=samplers[kind]())


class OwnOf40(BatchSampler):
    """A batch sampler of a user's that keeps a generator."""

    def __init__(self) -> None:
        super().__init__(Points(), batch_size=8)
        self.random = np.random.RandomState(3)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.random.permutation(40).tolist()
        return iter([order[i : i + 8] for i in range(0, 40, 8)])


class Stop(paddle_resume.Callback):
    def __init__(self, at: int) -> None:
        self._at = at

    def on_step_end(self, run: Any) -> None:
        if run.step == self._at:
            raise OSError("a kill")


@pytest.mark.parametrize("kind", ["weighted", "own"])
def test_a_trainer_goes_on_in_the_middle_of_an_epoch_with_the_samplers_order_and_state(
    kind: str, tmp_path: Any
) -> None:
    straight = trainer(tmp_path / "straight", every_steps=3)
    straight.train(data(kind), epochs=3)
    for at in (4, 8, 13):
        folder = tmp_path / str(at)
        with pytest.raises(OSError, match="a kill"):
            trainer(folder, every_steps=3, callbacks=[Stop(at)]).train(data(kind), epochs=3)
        again = trainer(folder, every_steps=3, callbacks=[Stop(0)])
        again.train(data(kind), epochs=3)
        assert again.restored.step == at - at % 3 and weights(again) == weights(straight)


def test_other_weights_are_a_difference(tmp_path: Any) -> None:
    trainer(tmp_path).train(data("weighted"), epochs=1)
    other = DataLoader(Points(), batch_sampler=batched(WeightedRandomSampler(np.linspace(2, 0.1, 40), 36)))
    with pytest.raises(InexactResumeError, match="data order: "):
        trainer(tmp_path).train(other, epochs=2)
