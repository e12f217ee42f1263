"""Batches from any `paddle.io.Dataset` through Paddle's DataLoader, each sample a pure function of its key."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional

import numpy as np
import paddle

from paddle_resume.rng import derive_seed, preserved

_END = object()


def load_batches(
    dataset: paddle.io.Dataset,
    batches: Iterable[np.ndarray],
    *,
    seed: int,
    epoch: int,
    num_workers: int = 0,
    collate_fn: Optional[Callable[..., Any]] = None,
) -> Iterator[list[paddle.Tensor]]:
    """Collated batches of `dataset` for each array of indices, in that order, whatever the workers do.

    The generators of this process stand still: building the loader and every transform that runs here would
    otherwise draw from them.
    """
    keys = [[(epoch, int(index)) for index in batch] for batch in batches]
    with preserved():
        loader = iter(
            paddle.io.DataLoader(
                _SeededSamples(dataset, seed),
                batch_sampler=_Keys(keys),
                num_workers=num_workers,
                collate_fn=collate_fn,
                worker_init_fn=_ignore_signals if num_workers else None,
                return_list=True,
            )
        )
    while True:
        with preserved():
            batch = next(loader, _END)
        if batch is _END:
            return
        yield list(batch) if isinstance(batch, (list, tuple)) else [batch]


def seed_sample(*key: int) -> None:
    """Seed what a sample's transforms may draw from: Python, NumPy, and Paddle on the CPU.

    Paddle's transforms use the first two. A GPU is left alone: forked workers must not touch it.
    """
    value = derive_seed(*key)
    random.seed(value)
    np.random.seed(value)
    paddle.framework.core.default_cpu_generator().manual_seed(value)


class _SeededSamples(paddle.io.Dataset):
    """Sample (epoch, index) of a dataset, with everything that it draws keyed by (seed, epoch, index)."""

    def __init__(self, dataset: paddle.io.Dataset, seed: int) -> None:
        self._dataset = dataset
        self._seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        seed_sample(self._seed, *key)
        return self._dataset[key[1]]

    def __len__(self) -> int:
        return len(self._dataset)


class _Keys(paddle.io.BatchSampler):
    """The lists of keys that are still to come in this epoch, as the sampler that DataLoader asks for."""

    def __init__(self, keys: list[list[tuple[int, int]]]) -> None:
        self._keys = keys
        self.batch_size = len(keys[0]) if keys else 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM to the trainer, which finishes its step with the batches of these workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
