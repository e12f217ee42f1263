"""Iterators in the place of Python's: the same items, and a place that can be read and set."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from paddle_resume.suites.iterators import Counted, placed_iterator, reused


@pytest.mark.parametrize(
    "make",
    [
        lambda: range(3),
        lambda: [1, 2],
        lambda: enumerate("abc"),
        lambda: enumerate("abc", 5),
        lambda: zip("abc", range(2)),
        lambda: zip(),
        lambda: map(lambda a, b: a * b, range(4), [1, 2, 3]),
        lambda: enumerate(zip([1], [2])),
        lambda: {"a": 1, "b": 2},
        lambda: {"a": 1, "b": 2}.items(),
        lambda: reversed([1, 2]),
        lambda: itertools.count(3),
        lambda: (x for x in "ab"),
        lambda: {1},
    ],
)
def test_the_items_are_the_same(make: Any) -> None:
    assert list(itertools.islice(placed_iterator(make()), 4)) == list(itertools.islice(make(), 4))


def test_zip_takes_no_more_than_pythons_own() -> None:
    long, other = iter(range(10)), iter(range(10))
    assert list(placed_iterator(zip(range(2), long))) == list(zip(range(2), other))
    assert next(long) == next(other)


def test_a_loop_that_is_begun_again_has_the_same_object() -> None:
    first = placed_iterator(enumerate([1, 2]))
    next(first)
    again = reused(first, placed_iterator(enumerate([3, 4], 7)))
    assert again is first and isinstance(again, Counted) and next(again) == (7, 3)
    assert reused(first, iter([1])) is not first


def test_a_bar_goes_along() -> None:
    tqdm = pytest.importorskip("tqdm")
    bar = tqdm.tqdm([1, 2, 3], disable=False, file=open("/dev/null", "w"))  # noqa: SIM115
    assert list(placed_iterator(bar)) == [1, 2, 3] and bar.n == 3
