"""The order of an epoch as a pure function of (seed, epoch): any position is reached at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import numpy as np


def epoch_order(
    seed: int, epoch: int, length: int, shuffle: bool, count: Optional[int] = None, replacement: bool = False
) -> np.ndarray:
    """Sample indices int64 [length], shuffled [count], in the order of this epoch.

    Each index comes once, of more than `count` some; with `replacement` each is drawn from all.

    From `RandomState` (MT19937 keyed by both numbers), whose stream NumPy has frozen for good, and not from
    any generator that others draw from. Depends on nothing else: workers, prefetching and batch size do not
    enter.
    """
    if not shuffle:
        return np.arange(length)
    random = np.random.RandomState(np.array([seed, epoch], np.uint32))
    if replacement:
        return random.randint(0, length, length if count is None else count, np.int64)
    return random.permutation(length)[:count]


def batches(order: np.ndarray, start: int, batch_size: int, drop_last: bool) -> Iterator[np.ndarray]:
    """Slices of `order` from position `start`, `batch_size` samples each; the last one may be shorter."""
    stop = len(order) - (len(order) % batch_size if drop_last else 0)
    for position in range(start, stop, batch_size):
        yield order[position : min(position + batch_size, stop)]
