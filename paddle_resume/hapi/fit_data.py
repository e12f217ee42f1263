"""The data of a fit in this package's resumable order, as the loader that `paddle.Model` iterates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable, Optional

import paddle

from paddle_resume.data.feed import Feed
from paddle_resume.errors import DataError


def training_feed(loader: Any, seed: int) -> Feed:
    """A feed of what `loader` loads; raises DataError for a loader whose order cannot be had again."""
    sampler = getattr(loader, "batch_sampler", None)
    if type(sampler) is not paddle.io.DistributedBatchSampler:
        return Feed.of(loader, seed=seed)
    # What `fit` wraps a dataset into; with one process it takes all of it.
    return Feed(
        loader.dataset,
        batch_size=sampler.batch_size,
        seed=seed,
        shuffle=sampler.shuffle,
        drop_last=sampler.drop_last,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )


def evaluation_feed(loader: Any, seed: int) -> Optional[Feed]:
    """The same for evaluation, or None for a loader that has to be taken as it is."""
    try:
        return training_feed(loader, seed)
    except DataError:
        return None


class EvaluationBatches:
    """All batches of a feed's first epoch."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __len__(self) -> int:
        return _length(self._feed)

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        return map(_tensors, self._feed.from_start())


class RemainingBatches:
    """The batches that are left of the current epoch, of which `begun` were handed out before.

    `finished` is called when one has been trained on, and all that `fit` does for it is done.
    """

    def __init__(self, feed: Feed, begun: int, finished: Callable[[], None]) -> None:
        self._feed = feed
        self._begun = begun
        self._finished = finished

    def __len__(self) -> int:
        # `fit` counts the batches of a loader from 0, and makes an update after the last one.
        return _length(self._feed) - self._begun

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        position = self._feed.samples
        for batch in self._feed.remaining():
            tensors = _tensors(batch)
            # The feed counts by the first item, which may be a nest of several inputs.
            position += len(tensors[0])
            self._feed.samples = position
            yield tensors
            self._finished()


def _length(feed: Feed) -> int:
    if feed.batches_per_epoch is None:
        raise TypeError("the length of a stream is not known")  # as DataLoader has it
    return feed.batches_per_epoch


def _tensors(batch: Any) -> list[Any]:
    parts = paddle.utils.flatten(batch)
    return [part if isinstance(part, paddle.Tensor) else paddle.to_tensor(part) for part in parts]
