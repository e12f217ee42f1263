"""The batches of an epoch in an order that follows from (seed, epoch) alone: any position is reached at once."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.data.order import batches, epoch_order


class SeededOrder:
    """Gives the batches of indices of each epoch, as `SampledOrder` does for a sampler of the user's.

    Args:
        dataset: what the indices are for; it has a length.
        seed, shuffle, num_samples, replacement, drop_last: as those of `Feed`.
        batch_size: samples a batch.
        limit: the most batches of an epoch; None: all.
    """

    stateful: Any = None
    is_pure = True

    def __init__(
        self,
        dataset: paddle.io.Dataset,
        *,
        seed: int,
        batch_size: int,
        shuffle: bool,
        num_samples: Optional[int],
        replacement: bool,
        drop_last: bool,
        limit: Optional[int],
    ) -> None:
        self._dataset: Any = dataset
        self._seed = seed
        self._shuffle = shuffle
        self._num_samples = num_samples
        self._replacement = replacement
        self._drop_last = drop_last
        self._limit = limit
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.total(0) // self.batch_size)

    @property
    def samples(self) -> int:
        """How many samples an epoch has before it is cut into batches."""
        return len(self._dataset) if self._num_samples is None else self._num_samples

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this order from another, besides what a feed tells of itself."""
        return {}

    def groups(self, epoch: int, start: int = 0) -> list[np.ndarray]:
        """The batches of the epoch that are left after its first `start` samples, arrays int64 [batch size]."""
        return list(batches(self._order(epoch), start, self.batch_size, self._drop_last))

    def first_epoch(self) -> list[np.ndarray]:
        """The batches of the first epoch."""
        return self.groups(0)

    def first_indices(self, count: int) -> list[int]:
        """The indices of its first samples, as many as there are up to `count`."""
        return [int(index) for index in self._order(0)[:count]]

    def batches_before(self, epoch: int, samples: int) -> int:
        """How many batches the first `samples` samples of the epoch make."""
        return -(-samples // self.batch_size)

    def total(self, epoch: int) -> int:
        """How many samples the epoch feeds."""
        length = self.samples
        length -= length % self.batch_size if self._drop_last else 0
        return length if self._limit is None else min(length, self._limit * self.batch_size)

    def state_dict(self, epoch: int, samples: int) -> dict[str, Any]:
        """Nothing: the position is all."""
        return {}

    def set_state_dict(self, epoch: int, state: dict[str, Any]) -> None:
        """There is nothing to be brought back."""

    def _order(self, epoch: int) -> np.ndarray:
        length = len(self._dataset)
        order = epoch_order(self._seed, epoch, length, self._shuffle, self._num_samples, self._replacement)
        return order[: self.total(epoch)]
