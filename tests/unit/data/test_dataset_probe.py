"""Two looks at a few samples: what keeps state or draws from a generator of its own is found, and nothing is moved."""

from __future__ import annotations

import random
from typing import Any, Callable

import numpy as np
import pytest

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.data import dataset_probe
from paddle_resume.data.dataset_probe import probe
from paddle_resume.data.feed import Feed
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.rng import RandomStreams


class Made(paddle.io.Dataset):
    """Forty samples, each made by a function of the index."""

    def __init__(self, sample: Callable[[int], Any]) -> None:
        self.sample = sample
        self.looks: list[int] = []

    def __getitem__(self, index: int) -> Any:
        self.looks.append(index)
        return self.sample(index)

    def __len__(self) -> int:
        return 40


OWN = np.random.default_rng(1)
GOOD: dict[str, Callable[[int], Any]] = {
    "arrays": lambda i: (np.full(3, i), np.array([i])),
    "all global generators": lambda i: (np.random.rand(2), random.random(), paddle.rand([2])),
    "text and numbers": lambda i: {"text": f"word {i}", "number": i, "nothing": None, "parts": [1.5, b"x"]},
    "nan": lambda i: np.array([np.nan]),
    "what cannot be compared": lambda i: (object(), np.array([object()])),
    "a generator seeded by the index": lambda i: np.random.default_rng(i).random(3),
}
BAD: dict[str, tuple[Callable[[int], Any], str]] = {
    "an array": (lambda i: (np.array([i]), OWN.random(3)), "field 1"),
    "a tensor in a mapping": (lambda i: {"image": paddle.to_tensor(OWN.random(3)), "label": i}, "field image"),
    "a number": (lambda i: OWN.random(), "field"),
    "a shape": (lambda i: [np.zeros(OWN.integers(1, 1000))], "field 0"),
    "a key": (lambda i: {str(OWN.random()): 1}, "field 0."),
}


@pytest.mark.parametrize("kind", GOOD)
def test_samples_that_follow_from_the_seed_are_alike(kind: str) -> None:
    assert probe(Made(GOOD[kind]), 7) == ""


@pytest.mark.parametrize("kind", BAD)
def test_samples_that_do_not_are_told_by_index_and_field(kind: str) -> None:
    sample, field = BAD[kind]
    told = probe(Made(sample), 7)
    assert told.startswith(f"dataset[0] gave two different values under the same seed: {field}")
    assert "Made draws from a generator of its own, or keeps state" in told


def test_no_generator_is_moved_and_few_samples_are_looked_at() -> None:
    streams, data = RandomStreams(1), Made(GOOD["all global generators"])
    before = streams.fingerprint()
    assert probe(data, 7) == ""
    assert streams.fingerprint() == before
    assert data.looks == [0, 19, 39] * 2


def test_a_slow_dataset_is_looked_at_as_long_as_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_probe, "_SECONDS", -1.0)
    data = Made(GOOD["arrays"])
    assert probe(data, 7) == "" and data.looks == [0, 0]


class Counting(Made):
    """Samples that follow from how many were taken."""

    def __init__(self) -> None:
        super().__init__(lambda i: np.array([self.count]))
        self.count = 5

    def __getitem__(self, index: int) -> Any:
        self.count += 1
        return super().__getitem__(index)


class Saved(Counting):
    """The same, on purpose: its state can be put back."""

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_a_dataset_that_keeps_state_on_purpose_gets_it_back_and_one_that_just_does_is_found() -> None:
    data = Saved()
    assert probe(data, 7) == "" and data.count == 5
    assert "dataset[0]" in probe(Counting(), 7)


def test_streams_are_left_alone_and_data_that_are_gathered_are_gathered() -> None:
    class Stream(paddle.io.IterableDataset):
        def __iter__(self) -> Any:
            raise AssertionError("it was consumed")

    class Gathered(ImageArrays):
        def gather(self, indices: np.ndarray) -> Any:
            return [array + OWN.random() for array in super().gather(indices)]

    images = np.zeros((20, 4, 4), np.uint8)
    assert probe(Stream(), 7) == ""
    assert probe(ImageArrays(images, np.arange(20) % 3, num_classes=3), 7) == ""
    assert "field 0" in probe(Gathered(images, np.arange(20) % 3, num_classes=3), 7)


def counting() -> Callable[[list[Any]], Any]:
    calls = 0

    def collate(samples: list[Any]) -> Any:
        nonlocal calls
        calls += 1
        return np.stack(samples) * calls

    return collate


@pytest.mark.parametrize("workers", [0, 2])
def test_a_collate_function_that_keeps_state_is_told_of_where_workers_would_lose_it(workers: int) -> None:
    failing = Feed(Made(lambda i: (np.zeros(2), "text")), num_workers=workers, collate_fn=counting())
    found = Feed(Made(lambda i: np.full(3, i)), num_workers=workers, collate_fn=counting()).probe(lambda: None)
    assert ("collate_fn made two different batches of dataset[" in found) is bool(workers)
    assert failing.probe(lambda: None) == "", "one that fails for a single sample is not judged"
    steady = Feed(Made(lambda i: np.full(3, i)), num_workers=workers, collate_fn=np.stack)
    assert steady.probe(lambda: None) == ""
