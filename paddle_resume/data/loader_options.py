"""What a `paddle.io.DataLoader` or a dataset says of its batches, as the options of a feed.

A plain order is replaced by a resumable one.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import paddle

from paddle_resume.errors import DataError


def loader_options(loader: paddle.io.DataLoader) -> dict[str, Any]:
    """Batch size, order, workers and collate function; a sampler of another kind is an option itself.

    Raises DataError for a loader that makes no batches.
    """
    sampler: Any = loader.batch_sampler
    options: dict[str, Any] = {
        "num_workers": loader.num_workers,
        "collate_fn": loader.collate_fn,
    }
    if sampler is None:
        raise DataError("The DataLoader makes no batches (batch_size=None); give it a batch_size or a batch_sampler.")
    if getattr(sampler, "batch_size", None) is not None:  # Of a user's class it may be known from its batches alone.
        options["batch_size"] = sampler.batch_size
    if isinstance(loader.dataset, paddle.io.IterableDataset):
        return {**options, "drop_last": loader.drop_last}
    order: Any = getattr(sampler, "sampler", None)
    if getattr(sampler, "is_advanced_by_its_loop", False):
        raise DataError(
            "ResumableBatchSampler is for loops of your own, which advance it. Hand over the dataset itself, with "
            "global_batch_size and shuffle."
        )
    is_random = type(order) is paddle.io.RandomSampler
    is_plain = type(sampler) is paddle.io.BatchSampler and (is_random or type(order) is paddle.io.SequenceSampler)
    if not is_plain or len(order.data_source) != len(loader.dataset) or getattr(order, "generator", None) is not None:
        return {**options, "sampler": sampler}
    drawn = {"num_samples": order._num_samples, "replacement": order.replacement} if is_random else {}
    return {**options, "drop_last": sampler.drop_last, "shuffle": is_random, **drawn}


def own_collate(dataset: Any) -> Optional[Callable[..., Any]]:
    """The method by which a dataset, also one of which this is a part, makes batches itself."""
    while isinstance(dataset, paddle.io.Subset):
        dataset = dataset.dataset
    return getattr(dataset, "collate_fn", None)
