"""What `iter(DataLoader)` gives in a wrapped run: it knows how it began and how far it is, so it can be made again."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any, Callable, Optional

import paddle
from paddle.io.dataloader.collate import default_collate_fn

from paddle_resume.errors import StateError
from paddle_resume.found_state.paddle_rules import LAST_ITERATOR
from paddle_resume.found_state.stand_ins import MADE_ANEW
from paddle_resume.suites.dying_workers import workers_that_die_too
from paddle_resume.suites.host_generators import host_state, set_host_state
from paddle_resume.suites.live_iterator import Live
from paddle_resume.suites.loader_data import (
    is_same_but_plain,
    look,
    plain_fields,
    plain_values,
    put_back,
    set_plain_values,
)
from paddle_resume.suites.noting_sampler import NotingIterator, NotingSampler

_TOLD_SECONDS = 2.0
_REFERENCES = 3  # to an iterator that only its loader has: the loader's, a local one, the argument of `getrefcount`
plain_iter: Callable[[Any], Any] = paddle.io.DataLoader.__iter__


_LIVE: weakref.WeakKeyDictionary[LoaderIterator, Live] = weakref.WeakKeyDictionary()


class LoaderIterator:
    """Goes through a `paddle.io.DataLoader`. All of its attributes are state.

    One that was put back is brought to where it was by `go_on`. Without workers the sampler's indices up to there are
    passed over, and the dataset's own numbers are set to what they were; the batches that were seen are made again only
    where that cannot do, which `needs_replay` tells: with workers, for streams, for a dataset that keeps other state.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.given = 0
        """How many batches it has given out, in all epochs."""
        self.is_made_anew = False
        """Whether its loader was made in the course of the run: another process has the one of its start in its place,
        whose data were other ones when they were first looked at."""
        self.start()

    def start(self) -> None:
        """Begin, or begin anew."""
        live = _LIVE.setdefault(self, Live())
        live.stop()
        self.count = 0
        self.is_through = False
        self.born = host_state()
        self.data_at_birth = look(self.loader)
        self.plain_at_birth = plain_values(self.loader)
        self.needs_replay = self.loader.num_workers > 0 or not _is_map(self.loader)
        self.place: Optional[list[Any]] = None
        """Where the data stood before the next batch was made, as of the last save: the digest of the samples up to it,
        the global generators, and the dataset's own numbers; how many batches had been made by then, ahead of the
        program, where the generators stood after them, and the dataset's numbers; and the jumps between them."""
        live.plain = self._plain(live, self._noting(live))

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
        live = _LIVE[self]
        self.release()
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

    def before_save(self) -> None:
        """Note where the data stand, for what is saved next; they stand still until `release`.

        Raises StateError for a place that cannot be come to.
        """
        live = _LIVE[self]
        place = live.place()
        if place is not None and live.noting is not None:
            thread = live.plain._thread if live.plain is not None else threading.Thread()
            made, generators = live.noting.hold(thread)
        if not self.is_through and (not self.needs_replay or self.is_made_anew):
            self._note_other_state()
        self.place = None
        if place is not None and live.noting is not None:
            jumps = live.noting.jumps(self.count, from_birth=self.needs_replay)
            now = plain_fields(self.loader.dataset)
            self.place = [place.digest, place.generators.values(), place.fields, made, generators.values(), now, jumps]

    def release(self) -> None:
        """Have batches made ahead again."""
        noting = _LIVE.setdefault(self, Live()).noting
        if noting is not None:
            noting.release()

    def _note_other_state(self) -> None:
        """Whether something of the dataset has moved that is not among what each batch notes."""
        # What a sampler moves it moves again when it is gone through again, from where it stood.
        is_same = is_same_but_plain(
            self.data_at_birth, look(self.loader), self.loader, sampler=self.is_made_anew, dataset=_is_map(self.loader)
        )
        if is_same:
            return
        self.needs_replay = True
        if self.is_made_anew:
            raise StateError(
                "The data of a DataLoader that was made in the course of the run have moved since it began, so that a "
                "resume could not begin it again. Make it once, before the loop."
            )

    def stop(self) -> None:
        """Let go of Paddle's iterator."""
        _LIVE.setdefault(self, Live()).stop()

    def come_near(self) -> Optional[NotingIterator]:
        """Pass over what was seen; None if the batches have to be made again. The generators are anywhere then."""
        if self.needs_replay or self.place is None:
            return None
        self._put_at_birth()
        noting = self._noting(_LIVE[self])
        # Otherwise the sampler draws as it goes, between what the batches draw.
        return noting if noting is not None and noting.pass_over(self.count) == self.place[0] else None

    def _put_at_birth(self) -> None:
        """Have the generators and the data stand where they stood when it began."""
        set_host_state(self.born)
        if self.is_made_anew:  # Nothing else has moved since, or it would not have been saved.
            set_plain_values(self.loader, self.plain_at_birth)
            self.data_at_birth = look(self.loader)
        else:
            put_back(self.loader, self.data_at_birth)

    def go_on(self, noting: Optional[NotingIterator]) -> None:
        """Have Paddle's iterator begin where this one stands; the generators stand where they did at the save."""
        live = _LIVE[self]
        if noting is None:
            self._make_again(live)
            return
        assert self.place is not None
        _, generators, fields, *_ = self.place
        set_host_state(generators)
        vars(self.loader.dataset).update(fields)
        noting.note_again()
        live.plain = self._plain(live, noting)
        self._come_to_gate(live)

    def _make_again(self, live: Live) -> None:
        now, data_now = host_state(), look(self.loader)
        self._put_at_birth()
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
        # Where workers make the batches, they have copies of the data; else what the data reach has moved again.
        if not self._come_to_gate(live, lambda: put_back(self.loader, data_now)):
            set_host_state(now)
            put_back(self.loader, data_now)

    def _come_to_gate(self, live: Live, then: Callable[[], None] = lambda: None) -> bool:
        """Have the batches made that had been made by the save, and the generators stand where they did after them.

        `then` is called when that is so, while none is being made.

        False where that is not noted. Raises StateError if there are no such batches any more.
        """
        if live.noting is None or self.place is None:
            return False
        if not live.noting.come_to_gate(live.plain._thread):
            raise StateError(
                f"The data ended after {live.noting.made} batches, and {self.place[3]} of them were made before the "
                "interruption: they are not those of the run that was interrupted."
            )
        set_host_state(self.place[4])
        then()
        vars(self.loader.dataset).update(self.place[5])
        live.noting.open_gate()
        return True

    def _noting(self, live: Live) -> Optional[NotingIterator]:
        """What notes where the data stand; None where workers make the batches."""
        if self.loader.num_workers > 0 or self.loader.batch_sampler is None:
            return None
        gate, jumps = (self.place[3], self.place[6]) if self.place is not None else (None, ())
        return NotingIterator(self.loader.batch_sampler, self.loader.dataset, live.places, gate, jumps)

    def _plain(self, live: Live, noting: Optional[NotingIterator]) -> Any:
        """Paddle's own iterator; it begins to make batches at once."""
        live.noting = noting
        if noting is None:
            with workers_that_die_too():
                return plain_iter(self.loader)
        noting.look_ahead()
        loader = self.loader
        sampler, collate = loader.batch_sampler, loader.collate_fn
        loader.batch_sampler = NotingSampler(sampler, noting)
        loader.collate_fn = noting.ending(collate or default_collate_fn)
        try:
            return plain_iter(loader)
        finally:
            loader.batch_sampler, loader.collate_fn = sampler, collate


MADE_ANEW.add(LoaderIterator)

ASKED: list[Optional[Callable[[LoaderIterator], LoaderIterator]]] = [None]
"""Called whenever the main thread asks for a batch; gives the iterator that is to give it."""


def loader_iterator(loader: Any) -> LoaderIterator:
    """An iterator that begins; the one before it begins anew if it is through, or nobody has it any more.

    So it is the same object in each epoch, also for a program that keeps it.
    """
    last = vars(loader).get(LAST_ITERATOR)
    # One that was put back may go through another loader now.
    if last is not None and last.loader is loader and (last.is_through or sys.getrefcount(last) <= _REFERENCES):
        last.start()
        return last
    made = LoaderIterator(loader)
    vars(loader)[LAST_ITERATOR] = made
    return made


def go_on(iterators: Sequence[LoaderIterator], tell: Callable[[str], None]) -> None:
    """Bring iterators that were put back to where they stood. The generators are as they were at the save.

    All of them are stopped first: threads that make batches draw from the generators that others are brought back by.
    """
    began, now = time.monotonic(), host_state()
    for each in iterators:
        each.stop()
        vars(each.loader)[LAST_ITERATOR] = each
    near = [(each, each.come_near()) for each in iterators if not each.is_through]
    set_host_state(now)
    for each, noting in near:
        each.go_on(noting)
    seconds = time.monotonic() - began
    if seconds > _TOLD_SECONDS:
        again = sum(each.count for each, noting in near if noting is None)
        tell(f"Came to where the data stood in {seconds:.0f} s; {again} batches were made again for it.")


def _is_map(loader: Any) -> bool:
    return loader.batch_sampler is not None and not isinstance(loader.dataset, paddle.io.IterableDataset)
