"""What `iter(DataLoader)` gives in a wrapped run: it knows how it began and how far it is, so it can be made again."""

from __future__ import annotations

import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple, Optional

import numpy as np
import paddle
import xxhash

from paddle_resume.errors import StateError
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.leaves import same_cells
from paddle_resume.found_state.owners import are_same
from paddle_resume.found_state.paddle_rules import LAST_ITERATOR
from paddle_resume.found_state.walker import Walker
from paddle_resume.suites.dying_workers import workers_that_die_too
from paddle_resume.suites.host_generators import host_state, set_host_state

_PLAIN = (bool, int, float, str, type(None))
_TOLD_SECONDS = 2.0
plain_iter: Callable[[Any], Any] = paddle.io.DataLoader.__iter__


class _Place(NamedTuple):
    """Where the data stood before a batch was made."""

    count: int
    digest: int
    python: Any
    numpy: Any
    fields: dict[str, Any]


class _Live:
    """What a LoaderIterator has in this process: Paddle's own iterator, and where the data stood lately."""

    def __init__(self) -> None:
        self.plain: Any = None
        self.places: deque[_Place] = deque()


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
        self.data_at_birth = _look(self.loader)
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
        while live.places and live.places[0].count < self.count:
            live.places.popleft()
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
        place = live.places[0] if live.places and live.places[0].count == self.count else None
        self.place = None
        if place is not None:
            python = [place.python[0], np.array(place.python[1], np.uint32), place.python[2]]
            self.place = [place.digest, [*python, *place.numpy], place.fields]

    def _keeps_other_state(self) -> bool:
        """Whether something of the dataset has moved that is not among what each batch notes."""
        then, now = self.data_at_birth, _look(self.loader)
        noted = {f"dataset.{name}" for name in _fields(self.loader.dataset)}
        return not _is_same_but(then, now, noted)

    def _make(self, live: _Live) -> None:
        count, began = self.count, time.monotonic()
        if count == 0 and self.place is None:
            live.plain = self._fresh(live, None)
            return
        now, data_now = host_state(), _look(self.loader)
        set_host_state(self.born)
        _put_back(self.loader, self.data_at_birth)
        if self.needs_replay or self.place is None:
            self._replay(live, count)
        else:
            digest, generators, fields = self.place
            live.plain = self._fresh(live, (count, digest, generators, fields))
        if self.loader.num_workers > 0:  # The workers have copies of their own.
            set_host_state(now)
            _put_back(self.loader, data_now)
        seconds = time.monotonic() - began
        if seconds > _TOLD_SECONDS:
            TELL[0](f"Made {count} batches of the epoch again in {seconds:.0f} s, to go on behind them.")

    def _replay(self, live: _Live, count: int) -> None:
        live.plain = self._fresh(live, None)
        for made in range(count):
            try:
                next(live.plain)
            except StopIteration:
                raise StateError(
                    f"The data ended after {made} batches, and {count} of them were seen before the interruption: "
                    "they are not those of the run that was interrupted."
                ) from None
        while live.places and live.places[0].count < count:
            live.places.popleft()

    def _fresh(self, live: _Live, goal: Any) -> Any:
        """Paddle's own iterator; with a goal it begins behind so many batches."""
        live.places.clear()
        if self.loader.num_workers > 0 or not _is_map(self.loader):
            with workers_that_die_too():
                return plain_iter(self.loader)
        loader = self.loader
        sampler = loader.batch_sampler
        noting = _NotingSampler(loader, live.places, goal)
        try:
            if sampler is not None:
                loader.batch_sampler = noting
            return plain_iter(loader)
        finally:
            if sampler is not None:
                loader.batch_sampler = sampler


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


class _NotingSampler:
    """Gives out a batch sampler's indices, and notes before each batch where the data stand."""

    def __init__(self, loader: Any, places: deque[_Place], goal: Any) -> None:
        self._sampler = loader.batch_sampler
        self._dataset = loader.dataset
        self._places = places
        self._goal = goal

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def __iter__(self) -> Iterator[Any]:
        return _NotingIterator(iter(self._sampler), self._dataset, self._places, self._goal)


class _NotingIterator:
    """Asked by the thread that makes the batches, each time before it makes one."""

    def __init__(self, inner: Iterator[Any], dataset: Any, places: deque[_Place], goal: Any) -> None:
        self._inner = inner
        self._dataset = dataset
        self._places = places
        self._digest = xxhash.xxh3_64()
        self._count = 0
        self._goal = goal

    def __iter__(self) -> _NotingIterator:
        return self

    def __next__(self) -> Any:
        if self._goal is not None:
            self._go_to(self._goal)
            self._goal = None
        numpy = np.random.get_state(legacy=True)
        fields = _fields(self._dataset)
        self._places.append(_Place(self._count, self._digest.intdigest(), random.getstate(), numpy, fields))
        return self._take()

    def _take(self) -> Any:
        indices = next(self._inner)
        self._digest.update(repr(indices).encode())
        self._count += 1
        return indices

    def _go_to(self, goal: tuple[int, int, list[Any], dict[str, Any]]) -> None:
        count, digest, generators, fields = goal
        for _ in range(count):
            self._take()
        if self._digest.intdigest() != digest:
            raise StateError(
                "The samples that were seen before the interruption come in another order now: the sampler draws "
                "while it is gone through, or from something that is not saved."
            )
        set_host_state(generators)
        if hasattr(self._dataset, "__dict__"):
            vars(self._dataset).update(fields)


def _is_map(loader: Any) -> bool:
    return loader.batch_sampler is not None and not isinstance(loader.dataset, paddle.io.IterableDataset)


def _fields(dataset: Any) -> dict[str, Any]:
    """The plain values that a dataset keeps, such as the number of its epoch."""
    return {name: value for name, value in getattr(dataset, "__dict__", {}).items() if type(value) in _PLAIN}


# One walker for each loader, which sees its data first when it is gone through for the first time.
_WALKERS: weakref.WeakKeyDictionary[Any, Walker] = weakref.WeakKeyDictionary()


def _look(loader: Any) -> list[Any]:
    """What has moved in a loader's data since it was gone through for the first time."""
    walker = _WALKERS.get(loader)
    if walker is None:
        roots = {"dataset": loader.dataset, "sampler": loader.batch_sampler, "collate_fn": loader.collate_fn}
        given = {name: each for name, each in roots.items() if each is not None}
        walker = _WALKERS[loader] = Walker(given, Claims(), is_alone=True)
    return [*map(_copied, walker.capture())]


def _copied(record: Any) -> Any:
    """A record whose arrays are no views of what goes on."""
    if isinstance(record, dict):
        return {name: _copied(each) for name, each in record.items()}
    if isinstance(record, (list, tuple)):
        return [*map(_copied, record)]
    return record.copy() if isinstance(record, np.ndarray) else record


def _put_back(loader: Any, looked: list[Any]) -> None:
    _look(loader)
    _WALKERS[loader].restore(looked[0], looked[1])


def _is_same_but(then: list[Any], now: list[Any], noted: set[str]) -> bool:
    moved, others = then[0]["moved"], now[0]["moved"]
    for path in {*moved, *others}:
        one, other = (_without_plain(each.get(path), path, noted) for each in (moved, others))
        if not same_cells(one, other):
            return False
    names = {*then[1], *now[1]}
    return len(then[0]["new"]) == len(now[0]["new"]) and all(
        are_same(then[1].get(name), now[1].get(name)) for name in names
    )


def _without_plain(entry: Any, path: str, noted: set[str]) -> Any:
    if entry is None or path != "dataset":
        return entry
    labels, values = entry.get("labels") or [], entry.get("values") or []
    kept = [(label, value) for label, value in zip(labels, values) if f"{path}.{label}" not in noted]
    return kept or None
