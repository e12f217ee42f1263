"""A batch as one process sees it: its own share of the samples, and how many the whole batch has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class Batch(list):
    """`[*inputs, label]`: `samples` of the `whole` batch's samples, each entry a tensor [samples, ...].

    If there are fewer samples than processes, some have `samples` 0: their entries hold one sample that stands in
    and does not count, so that every process takes the same steps.
    """

    def __init__(self, entries: Iterable[Any], samples: int, whole: int) -> None:
        super().__init__(entries)
        self.samples = samples
        self.whole = whole

    @classmethod
    def of(cls, batch: list) -> Batch:
        """`batch` as what it is, or as one whole batch."""
        return batch if isinstance(batch, cls) else cls(batch, len(batch[0]), len(batch[0]))

    def cut(self, most: int) -> Iterator[Batch]:
        """The batch in as few pieces as have at most `most` samples each; their sizes differ by one at most."""
        pieces = -(-self.samples // most)
        if pieces <= 1:
            yield self
            return
        for piece in range(pieces):
            part = share(self.samples, piece, pieces)
            yield Batch([entry[part] for entry in self], part.stop - part.start, self.whole)


def share(length: int, rank: int, size: int) -> slice:
    """Which of `length` samples are those of `rank` among `size`: adjacent ones, as many as the others have or one
    more or less."""
    return slice(length * rank // size, length * (rank + 1) // size)


def share_or_stand_in(indices: np.ndarray, rank: int, size: int) -> np.ndarray:
    """The rank's share of a batch's indices; if that is none, the first of the batch."""
    mine = indices[share(len(indices), rank, size)]
    return mine if len(mine) else indices[:1]
