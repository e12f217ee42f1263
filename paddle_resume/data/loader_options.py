"""What a `paddle.io.DataLoader` or a dataset says of its batches, as the options of a feed.

A loader's order is replaced by a resumable one.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import paddle

from paddle_resume.errors import DataError


def loader_options(loader: paddle.io.DataLoader) -> dict[str, Any]:
    """Batch size, order, workers and collate function; raises DataError for a sampler that cannot be replaced."""
    sampler: Any = loader.batch_sampler
    options: dict[str, Any] = {
        "num_workers": loader.num_workers,
        "collate_fn": loader.collate_fn,
        "batch_size": getattr(sampler, "batch_size", None),
    }
    if isinstance(loader.dataset, paddle.io.IterableDataset):
        return {**options, "drop_last": loader.drop_last}
    order: Any = getattr(sampler, "sampler", None)
    is_random = type(order) is paddle.io.RandomSampler
    if type(sampler) is not paddle.io.BatchSampler or not (is_random or type(order) is paddle.io.SequenceSampler):
        raise _refusal(type(sampler if order is None else order).__name__, "whose position cannot be saved")
    if len(order.data_source) != len(loader.dataset):
        raise _refusal(
            type(order).__name__,
            f"which draws from {len(order.data_source)} samples, while the dataset has {len(loader.dataset)}",
        )
    if is_random and order.generator is not None:
        raise _refusal("RandomSampler(generator=)", "whose position cannot be saved")
    drawn = {"num_samples": order._num_samples, "replacement": order.replacement} if is_random else {}
    return {**options, "drop_last": sampler.drop_last, "shuffle": is_random, **drawn}


def own_collate(dataset: Any) -> Optional[Callable[..., Any]]:
    """The method by which a dataset, also one of which this is a part, makes batches itself."""
    while isinstance(dataset, paddle.io.Subset):
        dataset = dataset.dataset
    return getattr(dataset, "collate_fn", None)


def _refusal(order: str, why: str) -> DataError:
    return DataError(
        f"The DataLoader draws its order from {order}, {why}. Give batch_size and shuffle to the DataLoader, or hand "
        "over the dataset itself."
    )
