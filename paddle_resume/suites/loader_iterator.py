"""What `iter(DataLoader)` gives in a wrapped run: it knows how it began and how far it is, so it can be made again."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import deque
from typing import Any, Callable, Optional

import numpy as np
import paddle

from paddle_resume.errors import StateError
from paddle_resume.found_state.paddle_rules import LAST_ITERATOR
from paddle_resume.suites.dying_workers import workers_that_die_too
from paddle_resume.suites.host_generators import host_state, set_host_state
from paddle_resume.suites.loader_data import is_same_but, look, put_back
from paddle_resume.suites.noting_sampler import NotingIterator, NotingSampler, Place, plain_fields

_TOLD_SECONDS = 2.0
plain_iter: Callable[[Any], Any] = paddle.io.DataLoader.__iter__


class _Live:
    """What a LoaderIterator has in this process: Paddle's own iterator, and where the data stood lately."""

    def __init__(self) -> None:
        self.plain: Any = None
        self.places: deque[Place] = deque()

    def drop_places_before(self, batches: int) -> None:
        """Forget where the data stood before batches that have been given out."""
        while self.places and self.places[0].batches < batches:
            self.places.popleft()


class LoaderIterator:
    """Goes through a `paddle.io.DataLoader` once.

    All of its attributes are state. One that was put back has no iterator of Paddle's: it makes it when the next batch
    is asked for, and brings it to where it was. Without workers it gives out the sampler's indices up to there, and
    sets the global generators and the dataset's own numbers to what they were; it makes the batches that were seen
    again only where that cannot do, which `needs_replay` tells: with workers, for streams, for a dataset that keeps
    other state.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.given = 0
        """How many batches it has given out, in all epochs."""
        self.start()

    def start(self) -> None:
        """Begin, or begin anew."""
        self.count = 0
        self.is_through = False
        self.born = host_state()
        self.data_at_birth = look(self.loader)
        self.needs_replay = self.loader.num_workers > 0 or not _is_map(self.loader)
        self.place: Optional[list[Any]] = None
        """Where the data stood before the next batch was made, as of the last save."""
        _LIVE[self] = _Live()

    def __iter__(self) -> LoaderIterator:
        return self

    def __len__(self) -> int:
        return len(self.loader)

    def __next__(self) -> Any:
        boundary = ASKED[0]
        if boundary is not None and threading.current_thread() is threading.main_thread():
            stands_for = boundary(self)
            if stands_for is not self:  # The program was put back, inside of this call, to where it asked another one.
                return stands_for.next_batch()
        return self.next_batch()

    def next_batch(self) -> Any:
        """The next batch, without asking anybody; raises StopIteration."""
        if self.is_through:
            raise StopIteration
        live = _LIVE.setdefault(self, _Live())
        if live.plain is None:
            self._make(live)
        try:
            batch = next(live.plain)
        except StopIteration:
            self.is_through, live.plain = True, None
            live.places.clear()
            raise
        self.count += 1
        self.given += 1
        live.drop_places_before(self.count)
        return batch

    def make(self) -> None:
        """Have Paddle's own iterator begin now, as it does in a run that is not wrapped."""
        self._make(_LIVE[self])

    def before_save(self) -> None:
        """Note where the data stand, for what is saved next."""
        live = _LIVE.get(self)
        if live is None or live.plain is None:
            return  # It was put back and not gone on with since: what is noted is right.
        if not self.needs_replay and self._keeps_other_state():
            self.needs_replay = True
        place = live.places[0] if live.places and live.places[0].batches == self.count else None
        self.place = None
        if place is not None:
            python = [place.python[0], np.array(place.python[1], np.uint32), place.python[2]]
            self.place = [place.digest, [*python, *place.numpy], place.fields]

    def _keeps_other_state(self) -> bool:
        """Whether something of the dataset has moved that is not among what each batch notes."""
        then, now = self.data_at_birth, look(self.loader)
        noted = {f"dataset.{name}" for name in plain_fields(self.loader.dataset)}
        return not is_same_but(then, now, noted)

    def _make(self, live: _Live) -> None:
        live.places.clear()
        if self.count == 0 and self.place is None:
            live.plain = self._plain(live, self._noting(live))
            return
        began, now, data_now = time.monotonic(), host_state(), look(self.loader)
        if self.needs_replay or not self._make_behind(live):
            self._make_again(live)
        if self.loader.num_workers > 0:  # The workers have copies of their own.
            set_host_state(now)
            put_back(self.loader, data_now)
        seconds = time.monotonic() - began
        if seconds > _TOLD_SECONDS:
            TELL[0](f"It took {seconds:.0f} s to come to batch {self.count} of the epoch again.")

    def _make_behind(self, live: _Live) -> bool:
        """Begin behind the batches that were seen, without making them; False if the samples come otherwise."""
        if self.place is None:
            return False
        digest, generators, fields = self.place
        self._be_born()
        noting = self._noting(live)
        if noting is None or noting.pass_over(self.count) != digest:
            return False  # The sampler draws as it goes, between what the batches draw.
        set_host_state(generators)
        vars(self.loader.dataset).update(fields)
        live.plain = self._plain(live, noting)
        return True

    def _make_again(self, live: _Live) -> None:
        self._be_born()
        live.plain = self._plain(live, self._noting(live))
        for made in range(self.count):
            try:
                next(live.plain)
            except StopIteration:
                raise StateError(
                    f"The data ended after {made} batches, and {self.count} of them were seen before the interruption: "
                    "they are not those of the run that was interrupted."
                ) from None
        live.drop_places_before(self.count)

    def _be_born(self) -> None:
        """Have the data stand where they stood when this began."""
        set_host_state(self.born)
        put_back(self.loader, self.data_at_birth)

    def _noting(self, live: _Live) -> Optional[NotingIterator]:
        """What notes where the data stand; None where all batches have to be made again anyway."""
        if self.loader.num_workers > 0 or not _is_map(self.loader):
            return None
        return NotingIterator(self.loader.batch_sampler, self.loader.dataset, live.places)

    def _plain(self, live: _Live, noting: Optional[NotingIterator]) -> Any:
        """Paddle's own iterator; it begins to make batches at once."""
        if noting is None:
            with workers_that_die_too():
                return plain_iter(self.loader)
        sampler = self.loader.batch_sampler
        self.loader.batch_sampler = NotingSampler(sampler, noting)
        try:
            return plain_iter(self.loader)
        finally:
            self.loader.batch_sampler = sampler


def loader_iterator(loader: Any) -> LoaderIterator:
    """An iterator that begins; the one before it begins anew if it is through, or nobody has it any more.

    So it is the same object in each epoch, also for a program that keeps it.
    """
    last = vars(loader).get(LAST_ITERATOR)
    if last is not None and (last.is_through or sys.getrefcount(last) <= _REFERENCES):
        last.start()
        return last
    made = vars(loader)[LAST_ITERATOR] = LoaderIterator(loader)
    return made


_REFERENCES = 3  # the loader's, `last`, and the argument of `getrefcount`
_LIVE: weakref.WeakKeyDictionary[LoaderIterator, _Live] = weakref.WeakKeyDictionary()
ASKED: list[Optional[Callable[[LoaderIterator], LoaderIterator]]] = [None]
"""Called whenever the main thread asks for a batch; gives the iterator that is to give it."""
TELL: list[Callable[[str], None]] = [print]


def _is_map(loader: Any) -> bool:
    return loader.batch_sampler is not None and not isinstance(loader.dataset, paddle.io.IterableDataset)
