"""Batches from an `IterableDataset`, with generators of its own and a position that can be returned to."""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Callable, Optional

import numpy as np
import paddle
import xxhash

from paddle_resume.data.batch_tree import OtherTypeError, collate
from paddle_resume.data.sample_loader import as_batch, seed_sample
from paddle_resume.errors import DataError
from paddle_resume.rng import RandomStreams, preserved
from paddle_resume.stateful import Stateful


class HeldByStream:
    """What a dataset without `state_dict()` holds, so that a pass can be made again from what it held as that began.

    This one knows of nothing; whoever finds such state puts another in its place.
    """

    def now(self) -> Any:
        """What it holds now, in a form for a record; None if nobody knows."""
        return None

    def as_at(self, begun: Any) -> AbstractContextManager[None]:
        """Inside, it holds what `now` gave then; afterwards everything is as it is now."""
        return nullcontext()


_STREAM = 1  # Keeps the stream's seeds apart from those of samples.


class Stream:
    """One pass over an `IterableDataset` per epoch, resumable within the epoch and between two.

    If the dataset offers `state_dict()` and `set_state_dict()`, resuming hands its state back, and iterating it
    afterwards must go on from there to the end of that pass. If not, the samples before the position are drawn again
    and dropped, from what the dataset held when the pass began.

    A dataset may change its state when a pass ends, such as go back to its beginning, and that a pass has ended shows
    only when it gives no more: a state is therefore taken after a first or a full batch's last sample, and the
    position is that state and how many samples came after it. Between two epochs it is where the pass before ended:
    a resume ends that pass once more, and whatever the dataset makes of that is there for the next one.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        seed: int,
        batch_size: int,
        drop_last: bool = False,
        collate_fn: Optional[Callable[..., Any]] = None,
    ) -> None:
        self._dataset = dataset
        self._seed = seed
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._collate = collate_fn or collate
        self.convert: Callable[[Any], Any] = as_batch
        """Makes what the collate function gave a batch."""
        self.held = HeldByStream()
        self._begun: Any = None
        self._start = None if self.replays else copy.deepcopy(dataset.state_dict())
        self._position: Optional[dict[str, Any]] = None
        self._pending: Optional[dict[str, Any]] = None
        self._last: list[Any] = []
        """The samples of the batch that was handed out last, where samples are drawn again."""
        self._restored_last: Optional[list[int]] = None
        """How many those were when the checkpoint was saved that this goes on from, and their digest."""
        self._is_to_match = False

    @property
    def replays(self) -> bool:
        """Whether resuming within an epoch draws the earlier samples again."""
        return not isinstance(self._dataset, Stateful)

    def batches(self, epoch: int, samples: int) -> Iterator[Any]:
        """The batches of `epoch` after its first `samples` samples.

        The dataset draws from the global generators, so they are exchanged for the stream's own while it does.
        """
        streams = RandomStreams(self._seed)
        with preserved():
            iterator = self._iterator(epoch, samples, streams)
            private = streams.state_dict()
        while True:
            with preserved():
                streams.set_state_dict(private)
                streams.begin_step(samples)
                group = []
                for sample in _next_of(iterator, self._batch_size):
                    group.append(sample)
                    samples += 1
                    self._drawn(streams, samples == 1 or len(group) == self._batch_size)
                private = streams.state_dict()
                if not group or (self._drop_last and len(group) < self._batch_size):
                    return
                batch = self._collated(group, samples)
            self._last, self._restored_last = (group if self.replays else []), None
            yield self.convert(batch)

    def first_epoch(self) -> Iterator[Any]:
        """The batches of the first epoch, the same each time; the dataset is left as it was."""
        self._position = self._pending = None
        if self.replays:
            kept = self._begun, self._last, self._restored_last, self._is_to_match
            try:
                yield from self.batches(0, 0)
            finally:
                self._begun, self._last, self._restored_last, self._is_to_match = kept
            return
        before = copy.deepcopy(self._dataset.state_dict())
        self._dataset.set_state_dict(copy.deepcopy(self._start))
        try:
            yield from self.batches(0, 0)
        finally:
            self._dataset.set_state_dict(before)

    def finish(self) -> None:
        """The pass has ended: the next epoch begins another."""
        self._pending = None
        if self._position is not None:
            self._position["ended"] = True

    def state_dict(self) -> dict[str, Any]:
        begun = {"begun": self._begun} if self._begun is not None else {}
        told = [len(self._last), _digest(self._last)] if self._last else self._restored_last
        last = {"last": told} if told is not None else {}
        return {"position": None if self._position is None else dict(self._position), **begun, **last}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self._begun, self._restored_last = state.get("begun"), state.get("last")
        self._last, self._is_to_match = [], self._restored_last is not None
        # The first versions had neither `after` nor `ended`.
        position = None if state["position"] is None else {"after": 0, "ended": False, **state["position"]}
        self._position, self._pending = position, copy.deepcopy(position)

    def _iterator(self, epoch: int, samples: int, streams: RandomStreams) -> Iterator[Any]:
        """The dataset's samples from the position on, with the generators as they were there."""
        pending, self._pending = self._pending, None
        if pending is None:
            if samples == 0:
                self._begun = self.held.now()
            with self.held.as_at(self._begun) if samples and self._begun is not None else nullcontext():
                seed_sample(self._seed, epoch, _STREAM)
                iterator = iter(self._dataset)
                self._require_the_same(_skip(iterator, samples, self._batch_size), samples)
            return iterator
        self._dataset.set_state_dict(pending["dataset"])
        streams.set_state_dict(pending["random"])
        iterator = iter(self._dataset)
        _skip(iterator, pending["after"])
        if not pending["ended"]:
            return iterator
        _skip(iterator, None)
        return self._iterator(epoch, 0, streams)

    def _require_the_same(self, last: list[Any], samples: int) -> None:
        """Raises DataError if samples that were drawn again are not those that were seen before the interruption."""
        expected, self._is_to_match = self._restored_last if self._is_to_match else None, False
        if samples and expected is not None and _digest(last[-expected[0] :]) != expected[1]:
            raise DataError(
                f"The stream {type(self._dataset).__name__} gives other samples now than before the interruption, when "
                f"it is read again up to sample {samples}: something changed what it gives within the epoch, such as "
                "a callback. Change it in on_epoch_begin or on_epoch_end; or give the dataset state_dict() and "
                "set_state_dict(), so that it need not be read again."
            )

    def _collated(self, group: list[Any], samples: int) -> Any:
        """The batch of the samples that end at the position `samples`."""
        try:
            return self._collate(group)
        except OtherTypeError as error:
            place = samples - len(group) + error.place
            raise DataError(error.sentence(f"sample {place} (counted from 0) of the stream")) from error

    def _drawn(self, streams: RandomStreams, take_state: bool) -> None:
        """A sample was drawn; its batch is not handed out before all of it are, so that none is saved half drawn."""
        if self.replays:
            return
        if take_state:
            # A copy: the dataset may hand out what it goes on to change.
            state = copy.deepcopy(self._dataset.state_dict())
            self._position = {"dataset": state, "random": streams.state_dict(), "after": 0, "ended": False}
        elif self._position is not None:
            self._position["after"] += 1


def _skip(iterator: Iterator[Any], samples: Optional[int], kept: int = 0) -> list[Any]:
    """Draw so many samples, None all that are left, and drop them but for the last ones, which are returned."""
    return list(deque(_next_of(iterator, samples), kept))


def _digest(samples: Any) -> int:
    """Of samples of any structure."""
    hasher = xxhash.xxh3_64()
    waiting = [samples]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            each = [*each, *each.values()]
        if isinstance(each, (list, tuple)):
            hasher.update(f"{type(each).__name__} {len(each)}".encode())
            waiting += each
            continue
        array = each.numpy() if isinstance(each, paddle.Tensor) else each
        if isinstance(array, np.ndarray) and array.dtype != object:
            hasher.update(f"{array.dtype} {array.shape}".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        elif isinstance(array, (str, bytes, int, float, complex, bool, np.generic)):
            hasher.update(repr(array).encode("utf-8", "surrogatepass"))
    return hasher.intdigest()


def _next_of(iterator: Iterator[Any], samples: Optional[int]) -> Iterator[Any]:
    """So many samples, None all that are left; without calling `iter` again, at which a dataset may begin anew."""
    for _ in itertools.count() if samples is None else range(samples):
        try:
            sample = next(iterator)
        except StopIteration:
            return
        yield sample
