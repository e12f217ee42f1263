"""Makes batches of samples by their indices: gathered at once, or loaded one by one, in this process or in workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional

import numpy as np
import paddle

from paddle_resume.data.sample_loader import load_batches


class EpochLoader:
    """The batches of a dataset that is no stream.

    Args:
        dataset: one with `gather(indices)` is gathered a batch at a time.
        seed: keys the random draws of each sample's transforms, with the epoch.
        num_workers: worker processes; 0 loads in this one.
        collate_fn: makes a batch of a list of samples.
    """

    def __init__(self, dataset: Any, *, seed: int, num_workers: int, collate_fn: Optional[Callable[..., Any]]) -> None:
        self._dataset = dataset
        self._seed = seed
        self._workers = num_workers
        self._collate = collate_fn

    def load(self, epoch: int, groups: Iterator[np.ndarray]) -> Iterator[Any]:
        """A batch for each of these arrays of indices, int64 [batch size], as that epoch has its samples."""
        return self._load(epoch, groups, self._workers)

    def at(self, indices: Sequence[int], epoch: int = 0) -> Any:
        """A batch of these samples as that epoch has them, loaded in this process."""
        return next(self._load(epoch, iter([np.asarray(indices)]), 0))

    def _load(self, epoch: int, groups: Iterator[np.ndarray], workers: int) -> Iterator[Any]:
        if getattr(self._dataset, "can_gather", False):
            for batch in groups:
                yield [paddle.to_tensor(array) for array in self._dataset.gather(batch)]
            return
        yield from load_batches(
            self._dataset, groups, seed=self._seed, epoch=epoch, num_workers=workers, collate_fn=self._collate
        )
