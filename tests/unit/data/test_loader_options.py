"""A DataLoader is taken apart: what it was told is kept exactly, or refused in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.data.feed import Feed
from paddle_resume.errors import DataError


class Numbers(paddle.io.Dataset):
    def __init__(self, count: int = 10) -> None:
        self.count = count

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array([index])

    def __len__(self) -> int:
        return self.count


def feed(seed: int = 1, drop_last: bool = False, **options: Any) -> Feed:
    data = Numbers()
    batches = paddle.io.BatchSampler(
        sampler=paddle.io.RandomSampler(data, **options), batch_size=4, drop_last=drop_last
    )
    return Feed.of(paddle.io.DataLoader(data, batch_sampler=batches), seed=seed)


def epochs(fed: Feed, count: int = 2) -> list[list[list[int]]]:
    seen = []
    while fed.epoch < count:
        seen.append([batch[0].numpy().ravel().tolist() for batch in fed.remaining()])
        assert fed.exhausted
        fed.finish_epoch()
    return seen


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"num_samples": 6}, [4, 2]),
        ({"replacement": True}, [4, 4, 2]),
        ({"replacement": True, "num_samples": 23}, [4, 4, 4, 4, 4, 3]),
    ],
)
def test_replacement_and_num_samples_are_kept_and_resume_exactly(options: dict[str, Any], sizes: list[int]) -> None:
    if paddle.__version__.startswith("2.") and not options.get("replacement"):
        pytest.skip("Paddle 2.6 takes num_samples with replacement only")
    straight = epochs(feed(**options))
    assert feed(**options).batches_per_epoch == len(sizes)
    assert [[len(batch) for batch in epoch] for epoch in straight] == [sizes, sizes]
    assert straight[0] != straight[1] and straight != epochs(feed(seed=2, **options))
    for epoch in straight:
        drawn = [index for batch in epoch for index in batch]
        assert (len(set(drawn)) == len(drawn)) is not options.get("replacement", False)
        assert set(drawn) <= set(range(10))
    again = feed(**options)
    again.set_state_dict({"epoch": 1, "samples": 4, "stream": None, "fed": {}})
    assert epochs(again)[-1] == straight[1][1:]
    assert feed(drop_last=True, **options).batches_per_epoch == sum(size == 4 for size in sizes)


def test_another_number_of_samples_is_a_difference() -> None:
    found = feed(num_samples=7, replacement=True).differences(feed(num_samples=6, replacement=True).state_dict())
    assert [str(one) for one in found] == ["data num_samples: 6 -> 7"]
    found = feed(replacement=True).differences(feed().state_dict())
    assert [str(one) for one in found] == ["data replacement: None -> True"]
    assert feed(replacement=True).differences(feed(replacement=True).state_dict()) == []


def test_a_generator_of_indices_is_refused_and_other_samplers_give_the_order() -> None:
    with pytest.raises(DataError, match=r"RandomSampler\(generator=\) takes its order from a generator"):
        feed(generator=iter([1, 2]))
    batches = paddle.io.BatchSampler(sampler=paddle.io.RandomSampler(Numbers(6)), batch_size=2)
    assert Feed.of(paddle.io.DataLoader(Numbers(), batch_sampler=batches)).batches_per_epoch == 3
    with pytest.raises(DataError, match="makes no batches"):
        Feed.of(paddle.io.DataLoader(Numbers(), batch_size=None))
