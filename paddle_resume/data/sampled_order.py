"""The order of an epoch as a sampler draws it, kept so that any position in it can be returned to."""

from __future__ import annotations

import copy
from itertools import chain, islice
from typing import Any, Optional

import numpy as np
import paddle
import xxhash

from paddle_resume.data.sample_loader import seed_sample
from paddle_resume.errors import DataError
from paddle_resume.rng import preserved

_ORDER = 2  # Keeps the seeds of orders apart from those of samples and streams.
# Weights and indices may be changed from epoch to epoch, so that samplers that have them are as those of the user's.
_PADDLES = ("BatchSampler", "DistributedBatchSampler", "RandomSampler", "SequenceSampler")


class SampledOrder:
    """The batches of indices that a batch sampler gives in each epoch.

    It is asked once an epoch, as it begins, with Python's, NumPy's and Paddle's generators seeded by (seed, epoch) and
    `set_epoch(epoch)` called where it has that. Paddle's samplers keep nothing else, so their order is made again
    wherever a run goes on. That of a sampler of the user's, which may keep anything, comes into the checkpoint while
    its epoch is under way; what such a sampler holds is found and saved as all else in the run.

    Args:
        sampler: a batch sampler with a length, of lists of indices.
        dataset: what the indices are for.
        size: the processes that share each batch. A DistributedBatchSampler for as many gives the batches of all.
        any_size: whether their number may change within the run, so that no order may depend on it.
        limit: the most batches of an epoch; None: all.

    Raises DataError for a sampler whose order cannot be had again.
    """

    def __init__(
        self,
        sampler: Any,
        dataset: Any,
        *,
        seed: int,
        size: int = 1,
        any_size: bool = False,
        limit: Optional[int] = None,
    ) -> None:
        self._sampler = sampler
        self._seed = seed
        self._limit = limit
        self._replicas = _one_replica(sampler) if any_size else _replicas(sampler, size)
        self.name = " of ".join(type(each).__name__ for each in _within(sampler))
        self._is_paddles = all(type(each).__name__ in _PADDLES and _is_of_paddle(each) for each in _within(sampler))
        if not hasattr(sampler, "__len__"):
            raise DataError(f"{self.name} has no length; give it __len__(), the number of batches of an epoch.")
        first = self._tried(dataset)
        if not first:
            raise DataError(f"{self.name} gave no batch for {type(dataset).__name__}.")
        self.batch_size = max(map(len, first))
        self.digest = _digest(first)
        """Of the first epoch's order, which tells another sampler from this one."""
        self._epoch: Optional[int] = None
        self._groups: list[np.ndarray] = []
        self._ends: np.ndarray = np.zeros(1, np.int64)
        self._first = np.concatenate(first[:1])

    def __len__(self) -> int:
        length = _length(self._sampler)
        return length if self._limit is None else min(length, self._limit)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this order from another, besides what a feed tells of itself."""
        return {"sampler": self.name, "order": self.digest}

    @property
    def stateful(self) -> Any:
        """What may hold state that moves, None if that is nothing."""
        return None if self._is_paddles else self._sampler

    def groups(self, epoch: int, start: int = 0) -> list[np.ndarray]:
        """The batches of the epoch that are left after its first `start` samples, arrays int64 [batch size]."""
        self._be_in(epoch)
        return self._groups[self.batches_before(epoch, start) : self._limit]

    def first_epoch(self) -> list[np.ndarray]:
        """The batches of the first epoch, for an evaluation; raises DataError for a sampler that would move by it."""
        if not self.is_pure:
            raise DataError(f"{self.name} keeps state of its own, which an evaluation would move. Give it the dataset.")
        return self._drawn(0)[: self._limit]

    def batches_before(self, epoch: int, samples: int) -> int:
        """How many batches the first `samples` samples of the epoch make."""
        self._be_in(epoch)
        return int(np.searchsorted(self._ends, samples))

    def first_indices(self, count: int) -> list[int]:
        """The indices of its first samples, as many as its first batch has up to `count`."""
        return [int(index) for index in self._first[:count]]

    def total(self, epoch: int) -> int:
        """How many samples the epoch feeds."""
        self._be_in(epoch)
        return int(self._ends[: None if self._limit is None else self._limit + 1][-1])

    def state_dict(self, epoch: int, samples: int) -> dict[str, Any]:
        """What brings the order of the epoch under way back; nothing where it is yet to be drawn."""
        if self._epoch != epoch or (self._is_paddles and not samples):
            return {}
        state: dict[str, Any] = {"digest": _digest(self._groups)}
        if not self._is_paddles:
            state["indices"] = np.concatenate(self._groups).astype(np.int64)
            state["ends"] = self._ends.astype(np.int64)
        return state

    def set_state_dict(self, epoch: int, state: dict[str, Any]) -> None:
        """Be where `state_dict` was called; raises DataError where the sampler draws another order now."""
        self._epoch = None
        if "indices" in state:
            ends = np.asarray(state["ends"], np.int64)
            self._keep(epoch, np.split(np.asarray(state["indices"], np.int64), ends[1:-1]))
        elif state:
            self._keep(epoch, self._drawn(epoch))
        if state and _digest(self._groups) != state["digest"]:
            raise DataError(
                f"{self.name} draws another order for epoch {epoch} than when the checkpoint was saved: its weights or "
                "indices were changed within the epoch. Change them between two epochs, or give a sampler of your own."
            )

    def _be_in(self, epoch: int) -> None:
        if self._epoch != epoch:
            self._keep(epoch, self._drawn(epoch))

    def _keep(self, epoch: int, groups: list[np.ndarray]) -> None:
        self._epoch, self._groups = epoch, groups
        self._ends = np.cumsum([0, *map(len, groups)])

    def _drawn(self, epoch: int) -> list[np.ndarray]:
        return self._draw(self._sampler, epoch)

    def _draw(self, sampler: Any, epoch: int) -> list[np.ndarray]:
        parts = []
        for rank in range(self._replicas):
            mine = sampler
            if self._replicas > 1:
                mine = copy.copy(sampler)
                mine.local_rank = rank
            with preserved():
                seed_sample(self._seed, epoch, _ORDER)
                if callable(getattr(mine, "set_epoch", None)):
                    mine.set_epoch(epoch)
                parts.append([_indices(group) for group in islice(iter(mine), _length(mine))])
        return [np.concatenate(groups) for groups in zip(*parts)]

    def _tried(self, dataset: Any) -> list[np.ndarray]:
        """The order of the first epoch, drawn by a copy, which leaves the sampler where it is."""
        try:
            _length(self._sampler)
        except Exception as error:
            raise DataError(
                f"{self.name} does not tell how long it is ({error}). Give it `__len__`, by which an epoch's steps are "
                "counted."
            ) from error
        if self._is_paddles:
            self.is_pure = True
            return self._drawn(0)
        try:
            trial = copy.deepcopy(self._sampler, {id(dataset): dataset})
            first, again = self._draw(trial, 0), self._draw(trial, 0)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{self.name} cannot be copied, to see what order it draws ({error}). Have it hold no generator or "
                "iterator: draw from NumPy's or Python's global generators, which are seeded for each epoch, or from "
                "a numpy.random.RandomState."
            ) from error
        self.is_pure = _digest(first) == _digest(again)
        return first


def _within(sampler: Any) -> list[Any]:
    """The batch sampler, and the sampler that it draws from."""
    inner = getattr(sampler, "sampler", None)
    return [sampler] if inner is None else [sampler, inner]


def _length(sampler: Any) -> int:
    """How many batches it says that it has; Paddle 3 fails there with weights that are a list, as its page has them."""
    inner = _within(sampler)[-1]
    if isinstance(inner, paddle.io.WeightedRandomSampler) and isinstance(inner.weights, (list, tuple)):
        inner = copy.copy(inner)
        inner.weights = np.asarray(inner.weights)
        if len(_within(sampler)) > 1:
            sampler = copy.copy(sampler)
            sampler.sampler = inner
        else:
            sampler = inner
    return len(sampler)


def _is_of_paddle(sampler: Any) -> bool:
    if getattr(sampler, "generator", None) is not None:
        raise DataError(
            f"{type(sampler).__name__}(generator=) takes its order from a generator whose position cannot be saved. "
            "Leave it out: the order of each epoch follows from the seed. Or give a sampler of your own."
        )
    return str(type(sampler).__module__).startswith("paddle.io.")


def _replicas(sampler: Any, size: int) -> int:
    """How many processes' batches make one of all together."""
    if not isinstance(sampler, paddle.io.DistributedBatchSampler) or size == 1:
        return 1
    if sampler.nranks != size:
        raise DataError(
            f"The DistributedBatchSampler is one for {sampler.nranks} processes, and {size} train together; give it "
            "num_replicas of as many, or leave that out."
        )
    return size


def _one_replica(sampler: Any) -> int:
    if getattr(sampler, "nranks", 1) != 1:
        raise DataError(
            f"{type(sampler).__name__} draws its order for {sampler.nranks} processes, and with parallel.elastic their "
            "number may change. Give it num_replicas=1, rank=0 and the batch size of all processes together, or give "
            "another batch sampler, or none."
        )
    return 1


def _indices(group: Any) -> np.ndarray:
    found = np.asarray(group)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise DataError(f"A batch sampler gives lists of whole numbers, found {group!r:.80}.")
    return found.astype(np.int64)


def _digest(groups: list[np.ndarray]) -> str:
    hasher = xxhash.xxh3_128()
    for part in chain([np.array([len(group) for group in groups], np.int64)], groups):
        hasher.update(np.ascontiguousarray(part, np.int64).tobytes())
    return hasher.hexdigest()
