"""A batch as one process sees it: its own share of the samples, and how many the global batch has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Union

import numpy as np

from paddle_resume.data.batch_tree import map_tensors, part_of, samples_in
from paddle_resume.errors import ConfigError

_LABELS = ("label", "labels")


class _Share:
    """`local_size` of the `global_size` samples of a batch.

    If there are fewer samples than processes, some have `local_size` 0: their entries hold one sample that stands in
    and does not count, so that every process takes the same steps. `key` says which samples these are: their indices,
    or their place in a stream.
    """

    local_size: int
    global_size: int
    key: bytes

    def with_entries(self, entries: Any) -> Batch:
        """A batch of the same samples with other entries."""
        return Batch.of(entries, self.local_size, self.global_size, self.key)

    def mapped(self, function: Callable[[Any], Any]) -> Batch:
        """The same batch with `function` of each tensor in its place."""
        return self.with_entries(map_tensors(function, self))

    def parts(self) -> Sequence[Batch]:
        """What of it goes through the model by itself, whatever the memory."""
        return [self]  # type: ignore[list-item]

    def micro_batches(self, most: int) -> Iterator[Batch]:
        """The batch in as few pieces as have at most `most` samples each; their sizes differ by one at most."""
        pieces = -(-self.local_size // most)
        if pieces <= 1:
            yield self  # type: ignore[misc]
            return
        for piece in range(pieces):
            part = share(self.local_size, piece, pieces)
            yield Batch.of(part_of(self, part), part.stop - part.start, self.global_size)


class Batch(_Share, list):
    """`[*inputs, label]`, each entry a tensor [local_size, ...], or what the dataset has there instead of an array."""

    @classmethod
    def of(cls, entries: Any, local_size: int | None = None, global_size: int | None = None, key: bytes = b"") -> Batch:
        """`entries` as what they are, or as a global batch that this process has all of."""
        if isinstance(entries, _Share) and local_size is None:
            return entries  # type: ignore[return-value]
        made: Any = NamedBatch(entries) if isinstance(entries, Mapping) else cls(entries)
        made.local_size = samples_in(entries) if local_size is None else local_size
        made.global_size = made.local_size if global_size is None else global_size
        made.key = key
        return made

    @property
    def label(self) -> Any:
        """What the loss and the metrics compare the output with: the last entry."""
        return self[-1]

    @property
    def inputs(self) -> list[Any]:
        """All but the label."""
        return self[:-1]

    def through(self, model: Callable[..., Any], without_label: bool = False) -> Any:
        """The output of the model for its inputs, or for its only entry if it has no label and need not have one."""
        return model(*(self.inputs or (self if without_label else ())))


class NamedBatch(_Share, dict):
    """A batch of samples that are dicts: under `label` or `labels` the label, all else inputs by name."""

    @property
    def label(self) -> Any:
        return next((self[name] for name in _LABELS if name in self), None)

    @property
    def inputs(self) -> dict[str, Any]:
        return {name: entry for name, entry in self.items() if name not in _LABELS}

    def through(self, model: Callable[..., Any], without_label: bool = False) -> Any:
        """The output of the model for its inputs, which it takes by their names."""
        if self.label is None and not without_label:
            raise ConfigError(
                f"A sample is a dict with {', '.join(map(repr, self))}, and none of them is called 'label' or "
                "'labels'. Have the dataset call the label so, or override Trainer.compute_loss(batch)."
            )
        return model(**self.inputs)


class SharedBatch(Batch):
    """A batch of an elastic run: `shares` by index, each loaded and collated by itself; it has no entries of its own.

    A collate function that pads to the longest sample would else depend on how many shares a process holds.
    """

    def __init__(self, shares: dict[int, Batch], global_size: int, key: bytes = b"") -> None:
        super().__init__()
        self.local_size, self.global_size, self.key = sum(each.local_size for each in shares.values()), global_size, key
        self.shares = shares

    def parts(self) -> Sequence[Batch]:
        return [each for each in self.shares.values() if each.local_size]


def shares_of(batch: Batch, mine: range, count: int) -> dict[int, Batch]:
    """Those of a batch's `count` shares that a process holds, which are `mine`; an empty one has no entries."""
    if isinstance(batch, SharedBatch):
        return batch.shares
    start = share(batch.global_size, mine.start, count).start
    found = {}
    for index in mine:
        part = share(batch.global_size, index, count)
        size = part.stop - part.start
        entries = part_of(batch, slice(part.start - start, part.stop - start)) if size else []
        found[index] = Batch.of(entries, size, batch.global_size, batch.key)
    return found


def shared_batches(
    groups: Iterable[np.ndarray],
    mine: range,
    count: int,
    load: Callable[[Iterator[np.ndarray]], Iterator[Any]],
) -> Iterator[SharedBatch]:
    """For each global batch of indices the shares `mine` of it, of `count` in all, which `load` loads one by one.

    The key of each share is that of its own samples.
    """
    parts = [(group, [group[share(len(group), index, count)] for index in mine]) for group in groups]
    loaded = load(part for _, row in parts for part in row if len(part))
    for group, row in parts:
        made = (Batch.of(next(loaded) if len(p) else [], len(p), len(group), p.tobytes()) for p in row)
        yield SharedBatch(dict(zip(mine, made)), len(group), group.tobytes())


def share(length: int, rank: int, size: int) -> slice:
    """Which of `length` samples are those of `rank` among `size`: adjacent ones, as many as the others have or one
    more or less."""
    return slice(length * rank // size, length * (rank + 1) // size)


def share_or_stand_in(indices: np.ndarray, rank: int, size: int) -> np.ndarray:
    """The rank's share of a batch's indices; if that is none, the first of the batch."""
    mine = indices[share(len(indices), rank, size)]
    return mine if len(mine) else indices[:1]


def cut_out(batch: Any, part: slice, whole: int, key: bytes) -> Batch:
    """`part` of the `whole` samples of a batch that every process has; the first stands in where that is none."""
    count = part.stop - part.start
    mine = batch if count == whole else part_of(batch, part if count else slice(1))
    return Batch.of(mine, count, whole, key)


AnyBatch = Union[Batch, NamedBatch]


class MicroBatches(list[Batch]):
    """The batches whose gradients make up one step, where that is more than one."""
