"""Batches from any `paddle.io.Dataset` through Paddle's DataLoader, each sample a pure function of its key."""

from __future__ import annotations

import atexit
import ctypes
import itertools
import random
import signal
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Callable, Optional, Tuple

import numpy as np
import paddle

from paddle_resume.data.batch_tree import OtherTypeError, as_tensors, collate
from paddle_resume.errors import DataError
from paddle_resume.rng import derive_seed, preserved

_Key = Tuple[int, int]
_END = object()
_FAILURE = "paddle_resume failure"
# Loaders whose workers may still run, because an exception holds the loop that they were made for.
_LOADERS: weakref.WeakSet[Any] = weakref.WeakSet()
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def load_batches(
    dataset: paddle.io.Dataset,
    batches: Iterable[np.ndarray],
    *,
    seed: int,
    epoch: int,
    num_workers: int = 0,
    collate_fn: Optional[Callable[..., Any]] = None,
) -> Iterator[Any]:
    """Collated batches of `dataset` for each array of indices, in that order, whatever the workers do; see `as_batch`.

    The generators of this process stand still: building the loader and every transform that runs here would
    otherwise draw from them.
    """
    samples = (_SeededSamples if num_workers == 0 else _WorkerSamples)(dataset, seed)
    keys = [[(epoch, int(index)) for index in batch] for batch in batches]
    if num_workers == 0:
        yield from _load_here(samples, keys, collate_fn or collate)
    else:
        yield from _load_by_workers(samples, keys, num_workers, collate_fn or collate)


def as_batch(collated: Any) -> Any:
    """What a collate function gave, with tensors for its arrays; a single field as a list of one."""
    batch = as_tensors(collated)
    return batch if isinstance(batch, (list, dict)) else list(batch) if isinstance(batch, tuple) else [batch]


def _load_here(samples: _SeededSamples, keys: list[list[_Key]], collate_fn: Callable[..., Any]) -> Iterator[Any]:
    # Without workers DataLoader loads in a thread, which would draw from the generators that the step uses.
    for batch in keys:
        with preserved():
            try:
                collated = collate_fn([samples[key] for key in batch])
            except OtherTypeError as error:
                raise DataError(_other_type(error, batch)) from None
        yield as_batch(collated)


def _load_by_workers(
    samples: _SeededSamples, keys: list[list[_Key]], num_workers: int, collate_fn: Callable[..., Any]
) -> Iterator[Any]:
    with preserved():
        loader: Any = iter(
            paddle.io.DataLoader(
                samples,
                batch_sampler=_Keys(keys),
                num_workers=num_workers,
                collate_fn=partial(_collate_unless_failed, collate_fn),
                worker_init_fn=prepare_worker,
                return_list=True,
            )
        )
    _LOADERS.add(loader)
    workers = list(loader._workers)
    try:
        for group in itertools.chain(keys, itertools.repeat([])):
            try:
                with preserved():
                    batch = next(loader, _END)
            except Exception as error:
                _tell_of_dead_workers(workers, error)
                raise
            if batch is _END:
                return
            if isinstance(batch, dict) and _FAILURE in batch:
                failure = batch[_FAILURE]
                raise DataError(failure if isinstance(failure, str) else _other_type(OtherTypeError(*failure), group))
            yield as_batch(batch)
    finally:
        _shut_down(loader)


def _tell_of_dead_workers(workers: list[Any], error: Exception) -> None:
    """Raise DataError if a worker has ended by itself, of which Paddle says that its queue was killed."""
    dead = [worker for worker in workers if worker.exitcode]
    if dead:
        code = dead[0].exitcode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        raise DataError(
            f"A data worker (pid {dead[0].pid}) {how}: perhaps this machine or container has too little memory, then "
            "use fewer with data.num_workers. Run the same command again to continue from the last checkpoint."
        ) from error


def _shut_down(loader: Any) -> None:
    """Let the workers end now: Python would send them SIGTERM when it exits, which they ignore, and wait for ever."""
    loader._try_shutdown_all(timeout=1)


@atexit.register
def _shut_down_all() -> None:
    for loader in list(_LOADERS):
        _shut_down(loader)


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

    def __getitem__(self, key: Any) -> Any:
        seed_sample(self._seed, *key)
        return self._dataset[key[1]]

    def __len__(self) -> int:
        return len(self._dataset)


class _WorkerSamples(_SeededSamples):
    """The same in a worker, where a DataError becomes a value.

    Raised there it would end Paddle's loading thread with a traceback, and the trainer with another error.
    """

    def __getitem__(self, key: Any) -> Any:
        try:
            return super().__getitem__(key)
        except DataError as error:
            return error


def _collate_unless_failed(collate_fn: Callable[..., Any], samples: list[Any]) -> Any:
    """The batch, or the text of the first sample that is an error, with an array that Paddle wants beside it."""
    for sample in samples:
        if isinstance(sample, DataError):
            return {_FAILURE: str(sample), "array": np.zeros(1)}
    try:
        return collate_fn(samples)
    except OtherTypeError as error:
        return {_FAILURE: list(error.args), "array": np.zeros(1)}


def _other_type(error: OtherTypeError, keys: Sequence[_Key]) -> str:
    return error.sentence(f"dataset[{keys[error.place][1]}]")


class _Keys(paddle.io.BatchSampler):
    """The lists of keys that are still to come in this epoch, as the sampler that DataLoader asks for."""

    def __init__(self, keys: list[list[_Key]]) -> None:
        self._keys = keys
        self.batch_size = len(keys[0]) if keys else 1

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def prepare_worker(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM to the trainer, which finishes its step with these workers; but die with it.

    Paddle's workers notice a dead trainer only between two batches: one that waits for a queue, or for a lock
    that the trainer held, would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent()


def die_with_parent() -> None:
    """Have this process get SIGKILL when the thread that forked it ends, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
