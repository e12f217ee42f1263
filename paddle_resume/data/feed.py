"""Feeds a run with batches, and owns its position: the epoch, and how many of its samples were handed out."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from typing import Any, Callable, Optional, Union

import paddle
from paddle.io.dataloader.collate import default_collate_fn

from paddle_resume.checked_arguments import AT_LEAST_ONE, AT_LEAST_ZERO, checked_class
from paddle_resume.data.batch import Batch, cut_out, share, share_or_stand_in, shared_batches
from paddle_resume.data.batch_tree import samples_in
from paddle_resume.data.dataset_identity import dataset_identity
from paddle_resume.data.dataset_probe import probe
from paddle_resume.data.epoch_loader import EpochLoader
from paddle_resume.data.fed_differences import identity_differences
from paddle_resume.data.loader_options import loader_options, own_collate
from paddle_resume.data.sampled_order import SampledOrder
from paddle_resume.data.seeded_order import SeededOrder
from paddle_resume.data.stream import Stream
from paddle_resume.data.stream_workers import WorkerStreams
from paddle_resume.differences import Difference
from paddle_resume.errors import DataError


@checked_class(batch_size=AT_LEAST_ONE, num_samples=AT_LEAST_ONE, num_workers=AT_LEAST_ZERO, limit_batches=AT_LEAST_ONE)
class Feed:
    """Owner of the data position over a dataset.

    Args:
        dataset: a `paddle.io.Dataset` (one with `gather(indices)` is gathered a batch at a time), or an
            `IterableDataset`.
        batch_size: samples a batch, over all processes together.
        seed: keys the order of each epoch and every random draw of a sample's transforms.
        shuffle: a new order each epoch; else the dataset's own.
        num_samples: of a shuffled epoch; None: as many as the dataset has.
        replacement: shuffled samples may come again in one epoch, with the same transforms, as each is drawn from all.
        drop_last: leave out the last batch of an epoch if it is short.
        limit_batches: no more batches an epoch than these; None: all. Of a stream only where no position is kept.
        num_workers: worker processes that load samples; 0 loads in this one. Does not alter what is fed.
        collate_fn: makes a batch of a list of samples; None: the dataset's own method `collate_fn`, if it has one, or
            Paddle's, with a list of tensors for a field whose samples have different shapes.
        sampler: a batch sampler that gives the order, in place of `batch_size`, `shuffle` and `drop_last`.
        rank, size: this process among those that share each batch. They do not alter what is fed to all together.
        shares: how many shares an elastic run cuts each batch into, loaded one by one; None: each process gets one.
        mine: which of them are this process's, adjacent ones or none; None: as many as each of the others has.

    Raises DataError for an empty dataset, or a sampler whose order cannot be had again.
    """

    def __init__(
        self,
        dataset: paddle.io.Dataset,
        *,
        batch_size: int = 32,
        seed: int = 0,
        shuffle: bool = True,
        num_samples: Optional[int] = None,
        replacement: bool = False,
        drop_last: bool = False,
        num_workers: int = 0,
        limit_batches: Optional[int] = None,
        collate_fn: Optional[Callable[..., Any]] = None,
        sampler: Any = None,
        rank: int = 0,
        size: int = 1,
        shares: Optional[int] = None,
        mine: Optional[range] = None,
    ) -> None:
        self.dataset: Any = dataset
        self.while_workers_load: Callable[[], AbstractContextManager[None]] = nullcontext
        """What is entered as workers are started on an epoch, and left when they are through with it."""
        self.batch_size = batch_size
        self.epoch = 0
        self.samples = 0
        self._seed = seed
        self._shuffle = shuffle
        self._num_samples = num_samples
        self._replacement = replacement
        self._drop_last = drop_last
        self._workers = num_workers
        self._limit = limit_batches
        self.collate = own_collate(dataset) if collate_fn in (None, default_collate_fn) else collate_fn
        self._loader = EpochLoader(dataset, seed=seed, num_workers=num_workers, collate_fn=self.collate)
        self._rank = rank
        self._size = size
        self._shares_in_all = shares
        self._mine = range(*(end * (shares or 0) // size for end in (rank, rank + 1))) if mine is None else mine
        cut: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "drop_last": drop_last}
        self._stream: Union[Stream, WorkerStreams, None] = None
        self._stream_ended = False
        if isinstance(dataset, paddle.io.IterableDataset):
            how: dict[str, Any] = {**cut, "collate_fn": self.collate}
            self._stream = WorkerStreams(dataset, num_workers, **how) if num_workers else Stream(dataset, **how)
        drawn: dict[str, Any] = {"shuffle": shuffle, "num_samples": num_samples, "replacement": replacement}
        self._order: Union[SeededOrder, SampledOrder] = SeededOrder(dataset, limit=limit_batches, **cut, **drawn)
        if sampler is not None:
            world: dict[str, Any] = {"size": size, "any_size": shares is not None}
            self._order = SampledOrder(sampler, dataset, seed=seed, limit=limit_batches, **world)
            self.batch_size = self._order.batch_size
        # Before the first epoch, so that what a stream consumes to tell of itself cannot be missed later.
        self._dataset_identity = dataset_identity(dataset, seed)
        if self._stream is None and self.batches_per_epoch == 0:
            raise DataError(
                f"{type(dataset).__name__} has {num_samples or len(self.dataset)} samples, less than one batch of "
                f"{batch_size}."
            )

    @classmethod
    def of(cls, data: Any, **options: Any) -> Feed:
        """A feed over a dataset, over what a `paddle.io.DataLoader` loads, or the feed itself."""
        if isinstance(data, Feed):
            return data
        if isinstance(data, paddle.io.DataLoader):
            return cls(data.dataset, **{**options, **loader_options(data)})
        if isinstance(data, paddle.io.Dataset):
            return cls(data, **options)
        raise DataError(
            f"Data of type {type(data).__name__} cannot be fed: give a paddle.io.Dataset, an IterableDataset or a "
            "paddle.io.DataLoader."
        )

    @property
    def batches_per_epoch(self) -> Optional[int]:
        """Batches an epoch; None for a stream, whose length is not known."""
        return None if self._stream is not None else len(self._order)

    @property
    def batches_in_epoch(self) -> int:
        """Batches of the current epoch that were handed out; between two epochs, all of the one before."""
        if self.between_epochs and self.batches_per_epoch is not None:
            return self.batches_per_epoch
        if self._stream is not None or not self.samples:
            return -(-self.samples // self.batch_size)
        return self._order.batches_before(self.epoch, self.samples)

    @property
    def is_stream(self) -> bool:
        """Whether the data come from an IterableDataset."""
        return self._stream is not None

    @property
    def sampler(self) -> Any:
        """The sampler of the user's that gives the order, if it may hold state that moves."""
        return self._order.stateful

    @property
    def sampler_keeps_state(self) -> bool:
        """Whether what the sampler draws depends on what it has drawn before."""
        return not self._order.is_pure

    @property
    def replayed(self) -> Union[Stream, WorkerStreams, None]:
        """The stream that draws earlier samples again where it goes on; None without one."""
        return self._stream if self._stream is not None and self._stream.replays else None

    @property
    def note(self) -> str:
        """What a user should know about resuming this data, or an empty string."""
        if self.replayed is not None:
            return (
                f"{type(self.dataset).__name__} has no state_dict(): resuming within an epoch draws the samples "
                "before that position again."
            )
        return ""

    def probe(self, put_back: Callable[[], None]) -> str:
        """Why its batches could not be made again, as far as a look at a few samples shows; else an empty text.

        `put_back` brings the state of this process back; what workers hold is lost with them.
        """
        # What has only been opened in workers so far may not bear to be opened here first.
        if self._workers > 0 and hasattr(self.dataset, "identity"):
            return ""
        # In this process a collate function's state is found, saved and put back.
        lost = (lambda: None, self.collate) if self._workers else (put_back, None)
        return probe(self.dataset, self._seed, *lost)

    def from_start(self) -> Iterator[Any]:
        """All batches of the first epoch, leaving the position alone."""
        if self._stream is not None:
            yield from islice(self._stream.first_epoch(), self._limit)
            return
        yield from self._loader.load(0, iter(self._order.first_epoch()))

    def samples_at(self, indices: Sequence[int], epoch: int = 0) -> Any:
        """A batch of these samples as that epoch has them, loaded in this process; not of a stream."""
        return self._loader.at(indices, epoch)

    def first_indices(self, count: int) -> list[int]:
        """The indices of the first samples of the first epoch, as many as there are up to `count`."""
        return self._order.first_indices(count)

    def round_robin(self) -> Iterator[Any]:
        """The same for an evaluation in which the processes take turns: this one's batch of each round.

        Whole batches, so that what each gives is the same in a world of any size. Every process has as many rounds;
        in the last there may be no batch for it, and None comes.
        """
        if self._stream is not None:
            rounds = islice(self._stream.first_epoch(), self._limit)
            while each := list(islice(rounds, self._size)):
                yield each[self._rank] if self._rank < len(each) else None
            return
        groups = self._order.first_epoch()
        own = groups[self._rank :: self._size]
        mine = zip(own, self._loader.load(0, iter(own)))
        for _ in range(0, len(groups), self._size):
            group, batch = next(mine, (None, None))
            yield None if group is None else Batch.of(batch, len(group), len(group), group.tobytes())

    def remaining(self) -> Iterator[Batch]:
        """This process's share of the batches that are left of the current epoch.

        Each counts as fed, by all its samples, once it has been handed out.
        """
        for batch in self._shares(self.epoch, self.samples):
            self.samples += batch.global_size
            yield batch
        self._stream_ended = self._stream is not None

    def finish_epoch(self) -> None:
        """Go to the start of the next epoch."""
        self.epoch += 1
        self.samples = 0
        self._stream_ended = False
        if self._stream is not None:
            self._stream.finish()

    @property
    def exhausted(self) -> bool:
        """Whether the current epoch has no batch left; of a stream this is known once it has ended."""
        if self._stream is not None:
            return self._stream_ended
        return self.samples > 0 and self.samples >= self._order.total(self.epoch)

    @property
    def between_epochs(self) -> bool:
        """Whether an epoch has just been finished and the next one not begun."""
        return self.samples == 0 and self.epoch > 0

    def state_dict(self) -> dict[str, Any]:
        stream = self._stream.state_dict() if self._stream is not None else None
        drawn = self._order.state_dict(self.epoch, self.samples)
        order = {"order": drawn} if drawn else {}
        return {"epoch": self.epoch, "samples": self.samples, "stream": stream, **order, "fed": self.identity()}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.samples = state["epoch"], state["samples"]
        if self._stream is not None and state["stream"] is not None:
            self._stream.set_state_dict(state["stream"])
        self._order.set_state_dict(self.epoch, state.get("order", {}))

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return identity_differences("data", state["fed"], self.identity())

    def identity(self) -> dict[str, Any]:
        """What, besides the position, decides which samples come: a change makes a resume inexact."""
        return {
            **self._dataset_identity,
            "global_batch_size": self.batch_size,
            "seed": self._seed,
            "shuffle": self._shuffle,
            "drop_last": self._drop_last,
            **({"num_samples": self._num_samples} if self._num_samples is not None else {}),
            **({"replacement": True} if self._replacement else {}),
            **({"limit_batches": self._limit} if self._limit is not None else {}),
            **({"num_workers": self._workers} if self._stream is not None and self._workers else {}),
            **self._order.identity,
        }

    def _shares(self, epoch: int, start: int) -> Iterator[Batch]:
        if self._stream is not None:
            for batch in self._stream.batches(epoch, start):
                yield self._share_of(batch, struct.pack("<2q", epoch, start))
                start += samples_in(batch)
            return
        groups = self._order.groups(epoch, start)
        if self._shares_in_all is not None:
            with self.while_workers_load() if self._workers else nullcontext():
                of_epoch = partial(self._loader.load, epoch)
                yield from shared_batches(groups, self._mine, self._shares_in_all, of_epoch)
            return
        mine = (share_or_stand_in(group, self._rank, self._size) for group in groups)
        with self.while_workers_load() if self._workers else nullcontext():
            for group, loaded in zip(groups, self._loader.load(epoch, mine)):
                part = share(len(group), self._rank, self._size)
                yield Batch.of(loaded, part.stop - part.start, len(group), group.tobytes())

    def _share_of(self, batch: Any, key: bytes) -> Batch:
        """The part of a stream's batch that is this process's; its samples have to be drawn by every process."""
        whole = samples_in(batch)
        part = share(whole, self._rank, self._size)
        if self._shares_in_all is not None:
            part = slice(*(share(whole, end, self._shares_in_all).start for end in (self._mine.start, self._mine.stop)))
        return cut_out(batch, part, whole, key)
