"""A batch sampler that notes where the data stand before each batch is made."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional

import xxhash

from paddle_resume.errors import StateError
from paddle_resume.suites.host_generators import HostState, set_host_state
from paddle_resume.suites.loader_data import plain_fields

_MOMENT = 0.0005
_MOST_JUMPS = 256  # of some kilobytes each; a loader has less than ten batches made ahead


class Place(NamedTuple):
    """Where the data stood before a batch was made, with the indices of its samples at hand."""

    batches: int
    """How many had been made."""
    digest: int
    """Of the indices of their samples, and of those at hand."""
    generators: HostState
    fields: dict[str, Any]
    """The dataset's own numbers."""


class Moment(NamedTuple):
    """What batches are made from besides their indices, at one moment."""

    generators: HostState
    fields: dict[str, Any]
    """The dataset's own numbers."""

    @classmethod
    def now(cls, dataset: Any) -> Moment:
        return cls(HostState.now(), plain_fields(dataset))

    def is_same(self, other: Moment) -> bool:
        """Whether nothing has moved between the two."""
        return self.fields == other.fields and self.generators.is_same(other.generators)


class Jump(NamedTuple):
    """Before a batch was made, others had drawn from the generators, such as an evaluation, or set the numbers."""

    batch: int
    generators: list[Any]
    fields: dict[str, Any]


class NotingIterator:
    """What a loader asks for the indices of each batch, from the thread that makes it ahead of the program.

    The thread draws from the global generators as the program does. So that another process can have the same numbers
    drawn for the same things, it is known at a save which batches have been made, and with a `gate` the thread makes
    just these, with the same `jumps` between them, before it waits until the generators stand where they stood.
    """

    def __init__(
        self,
        sampler: Any,
        dataset: Any,
        places: deque[Place],
        gate: Optional[int] = None,
        jumps: Sequence[Sequence[Any]] = (),
    ) -> None:
        self._inner = iter(sampler)
        self._dataset = dataset
        self._places = places
        self._gate = gate
        self._is_open = threading.Event()
        self._turn = threading.Lock()
        """Whoever has it decides when the next batch is begun."""
        self._is_held = False
        self._digest = xxhash.xxh3_64()
        self._batches = 0
        self._begun = 0
        self.made = 0
        """How many batches were made, with those that were passed over."""
        self._ahead: Optional[tuple[Any, ...]] = None
        self._to_make = {int(batch): Jump(int(batch), generators, dict(fields)) for batch, generators, fields in jumps}
        self._begin: Optional[Moment] = None
        self._end: Optional[Moment] = None
        """Before and after the batch that was made last."""
        self._jumps: deque[Jump] = deque()
        self._has_moved = False
        """Whether a batch has drawn, or set a number, since the last jump; else that one stands for all."""
        self._has_all_jumps = True
        self._sampler_draws = False
        """Whether each batch's indices are drawn from the global generators, and not all of them at the first."""

    def __iter__(self) -> NotingIterator:
        return self

    def __next__(self) -> Any:
        if self._begun == self._gate:
            self._is_open.wait()
        with self._turn:
            self._begun += 1
        try:
            if self._ahead is None:
                return self._take()
            ahead, self._ahead = self._ahead, None
            if not ahead:
                raise StopIteration
            return ahead[0]
        except StopIteration:
            self._begun -= 1
            raise

    def ending(self, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function that puts a batch together, and notes that it is made."""

        def noting(samples: Any) -> Any:
            batch = collate(samples)
            self._end = Moment.now(self._dataset)
            self._has_moved = self._has_moved or self._begin is None or not self._begin.is_same(self._end)
            self.made += 1
            return batch

        return noting

    def hold(self, thread: Any) -> tuple[int, HostState]:
        """Have no further batch made until `release`, so that the data stand still while they are looked at.

        Returns how many were made, and where the generators stand.
        """
        if not self._is_held:
            self._turn.acquire()
            self._is_held = True
        while self._begun != self.made and thread.is_alive():
            time.sleep(_MOMENT)
        return self.made, HostState.now()

    def release(self) -> None:
        """Have the thread go on after `hold`."""
        if self._is_held:
            self._is_held = False
            self._turn.release()

    def jumps(self, given: int, from_birth: bool) -> list[list[Any]]:
        """Those before the batches that are made again when so many were given out.

        Raises StateError if these are all since the data began, `from_birth` or for the sampler, and too many.
        """
        since = -1 if from_birth or self._sampler_draws else given
        if since < 0 and not self._has_all_jumps:
            raise StateError(
                "The data have to be gone through again after a resume, and too often since they began was a random "
                "number drawn between two batches that draw some themselves, by Python's or NumPy's global generator. "
                "Draw it from a generator of its own, or use workers."
            )
        # One at the end of the data comes before no batch: made again, it would come when the program goes on already.
        found = [each for each in list(self._jumps) if since < each.batch < self.made]
        return [[each.batch, each.generators, each.fields] for each in found]

    def come_to_gate(self, thread: Any) -> bool:
        """Wait until all batches before the gate are made; False if they are not to be had."""
        while self.made != self._gate and thread.is_alive():
            time.sleep(_MOMENT)
        return self.made == self._gate

    def open_gate(self) -> None:
        """Have the thread go on."""
        self._is_open.set()

    def look_ahead(self) -> None:
        """Have the sampler draw the order of the samples now, and not at the same time as others draw."""
        if self._ahead is not None:
            return
        try:
            self._ahead = (self._take(),)
        except StopIteration:
            self._ahead = ()

    def pass_over(self, batches: int) -> int:
        """Give out no indices of so many batches, and look ahead; returns the digest of all these indices.

        It ends early where there are fewer.
        """
        for _ in range(batches):
            indices = next(self._inner, None)
            if indices is None:
                break
            self._count(indices)
        self._begun = self.made = self._batches
        self.look_ahead()
        return self._digest.intdigest()

    def _take(self) -> Any:
        batches = self._batches
        before = self._jump(batches)
        try:
            indices = next(self._inner)
            self._count(indices)
            return indices
        finally:
            begin = self._note(batches)
            self._sampler_draws = self._sampler_draws or (batches > 0 and not before.is_same(begin))

    def note_again(self) -> None:
        """The generators and numbers have been set for the batch whose indices are at hand."""
        self._note(self._places.pop().batches)

    def _note(self, batches: int) -> Moment:
        self._begin = begin = Moment.now(self._dataset)
        self._places.append(Place(batches, self._digest.intdigest(), *begin))
        return begin

    def _jump(self, batch: int) -> Moment:
        """Make the jump before a batch that is made again; of any other note whether there was one.

        Returns what the sampler is asked from.
        """
        jump = self._to_make.pop(batch, None)
        if jump is not None:
            set_host_state(jump.generators)
            vars(self._dataset).update(jump.fields)
        now = Moment.now(self._dataset)
        if jump is None and self._end is not None and not self._end.is_same(now):
            jump = Jump(batch, now.generators.values(), now.fields)
        if jump is not None:
            self._keep(jump)
        return now

    def _keep(self, jump: Jump) -> None:
        if self._jumps and not self._has_moved:
            self._jumps.pop()
        self._jumps.append(jump)
        self._has_moved = False
        if len(self._jumps) > _MOST_JUMPS:
            self._jumps.popleft()
            self._has_all_jumps = False

    def _count(self, indices: Any) -> None:
        self._digest.update(repr(indices).encode())
        self._batches += 1


class NotingSampler:
    """Stands for a loader's batch sampler while Paddle makes an iterator of the loader."""

    def __init__(self, sampler: Any, noting: NotingIterator) -> None:
        self._sampler = sampler
        self._noting = noting

    def __iter__(self) -> Iterator[Any]:
        return self._noting

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)
