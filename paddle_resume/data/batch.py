"""A batch as one process sees it: its own share of the samples, and how many the global batch has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


class Batch(list):
    """`[*inputs, label]`: `local_size` of the `global_size` samples, each entry a tensor [local_size, ...].

    If there are fewer samples than processes, some have `local_size` 0: their entries hold one sample that stands in
    and does not count, so that every process takes the same steps.
    """

    def __init__(self, entries: Iterable[Any], local_size: int, global_size: int, key: bytes = b"") -> None:
        """`key` says which samples these are: their indices, or their place in a stream."""
        super().__init__(entries)
        self.local_size = local_size
        self.global_size = global_size
        self.key = key

    @classmethod
    def of(cls, batch: list) -> Batch:
        """`batch` as what it is, or as a global batch that this process has all of."""
        return batch if isinstance(batch, cls) else cls(batch, len(batch[0]), len(batch[0]))

    def micro_batches(self, most: int) -> Iterator[Batch]:
        """The batch in as few pieces as have at most `most` samples each; their sizes differ by one at most."""
        pieces = -(-self.local_size // most)
        if pieces <= 1:
            yield self
            return
        for piece in range(pieces):
            part = share(self.local_size, piece, pieces)
            yield Batch([entry[part] for entry in self], part.stop - part.start, self.global_size)


class SharedBatch(Batch):
    """A batch of an elastic run: `shares` by index, each loaded and collated by itself; it has no entries of its own.

    A collate function that pads to the longest sample would else depend on how many shares a process holds.
    """

    def __init__(self, shares: dict[int, Batch], global_size: int, key: bytes = b"") -> None:
        super().__init__([], sum(each.local_size for each in shares.values()), global_size, key)
        self.shares = shares


def shares_of(batch: Batch, mine: range, count: int) -> dict[int, Batch]:
    """Those of a batch's `count` shares that a process holds, which are `mine`; an empty one has no entries."""
    if isinstance(batch, SharedBatch):
        return batch.shares
    start = share(batch.global_size, mine[0], count).start
    found = {}
    for index in mine:
        part = share(batch.global_size, index, count)
        size = part.stop - part.start
        entries = [entry[part.start - start : part.stop - start] for entry in batch] if size else []
        found[index] = Batch(entries, size, batch.global_size, batch.key)
    return found


def shared_batches(
    groups: Iterable[np.ndarray],
    rank: int,
    size: int,
    count: int,
    load: Callable[[Iterator[np.ndarray]], Iterator[list[Any]]],
) -> Iterator[SharedBatch]:
    """For each global batch of indices a rank's shares of it, of `count` in all, which `load` loads one by one."""
    mine = range(rank * count // size, (rank + 1) * count // size)
    parts = [(group, [group[share(len(group), index, count)] for index in mine]) for group in groups]
    loaded = load(part for _, row in parts for part in row if len(part))
    for group, row in parts:
        key = group.tobytes()
        shares = {i: Batch(next(loaded) if len(p) else [], len(p), len(group), key) for i, p in zip(mine, row)}
        yield SharedBatch(shares, len(group), key)


def share(length: int, rank: int, size: int) -> slice:
    """Which of `length` samples are those of `rank` among `size`: adjacent ones, as many as the others have or one
    more or less."""
    return slice(length * rank // size, length * (rank + 1) // size)


def share_or_stand_in(indices: np.ndarray, rank: int, size: int) -> np.ndarray:
    """The rank's share of a batch's indices; if that is none, the first of the batch."""
    mine = indices[share(len(indices), rank, size)]
    return mine if len(mine) else indices[:1]


class MicroBatches(list[Batch]):
    """The batches whose gradients make up one step, where that is more than one."""
