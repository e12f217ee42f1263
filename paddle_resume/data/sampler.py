"""A batch sampler for `paddle.io.DataLoader` whose position can be saved, for loops that are written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import paddle

from paddle_resume.checked_arguments import AT_LEAST_ONE, SEED, checked_class
from paddle_resume.data.feed import Feed
from paddle_resume.data.order import batches, epoch_order
from paddle_resume.differences import Difference
from paddle_resume.errors import DataError, StateError


@checked_class(batch_size=AT_LEAST_ONE, seed=SEED)
class ResumableBatchSampler(paddle.io.BatchSampler):
    """Owner of the position in a dataset, for `paddle.io.DataLoader(dataset, batch_sampler=...)`.

    A DataLoader reads ahead, so the sampler cannot know which batches have been used: the loop calls `advance` after
    each. What transforms draw at random is not part of it; for that there is `Feed`, which needs no DataLoader.

    Args:
        dataset: a `paddle.io.Dataset` with a length.
        batch_size: samples a batch.
        seed: keys the order of each epoch.
        shuffle: a new order each epoch; else the dataset's own.
        drop_last: leave out the last batch of an epoch if it is short.

    Raises DataError for an empty dataset or one without a length.
    """

    is_advanced_by_its_loop = True

    def __init__(
        self,
        dataset: paddle.io.Dataset,
        batch_size: int = 32,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        if isinstance(dataset, paddle.io.IterableDataset):
            raise DataError(
                f"{type(dataset).__name__} is an IterableDataset, from which no sampler chooses; give it to "
                "paddle_resume.Feed, which resumes it by its own position."
            )
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._seed = seed
        self._shuffle = shuffle
        self._feed = Feed(dataset, batch_size=batch_size, seed=seed, shuffle=shuffle, drop_last=drop_last)

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 0."""
        return self._feed.epoch

    def epochs(self, count: int) -> Iterator[int]:
        """The epochs that are left of `count`; going on to the next one sets the position to its start.

        Raises StateError if `advance` was not called in an epoch.
        """
        while self._feed.epoch < count:
            yield self._feed.epoch
            if self._feed.samples == 0:
                raise StateError(
                    f"No batch of epoch {self._feed.epoch} was counted, so a resume would begin it again. Call the "
                    "sampler's advance() after each batch."
                )
            self._feed.finish_epoch()

    def advance(self) -> None:
        """Count a batch as used: a checkpoint that is saved from here on goes on after it."""
        left = len(self._feed.dataset) - self._feed.samples
        self._feed.samples += min(self.batch_size, left)

    def __iter__(self) -> Iterator[Any]:
        order = epoch_order(self._seed, self._feed.epoch, len(self._feed.dataset), self._shuffle)
        for batch in batches(order, self._feed.samples, self.batch_size, self.drop_last):
            yield batch.tolist()

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever the position is."""
        assert self._feed.batches_per_epoch is not None
        return self._feed.batches_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return self._feed.state_dict()

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self._feed.set_state_dict(state)

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return self._feed.differences(state)
