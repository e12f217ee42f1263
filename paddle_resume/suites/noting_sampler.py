"""A batch sampler that notes where the data stand before each batch is made."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple, Optional

import xxhash

from paddle_resume.suites.host_generators import HostState
from paddle_resume.suites.loader_data import plain_fields

_MOMENT = 0.0005


class Place(NamedTuple):
    """Where the data stood before a batch was made, with the indices of its samples at hand."""

    batches: int
    """How many had been made."""
    digest: int
    """Of the indices of their samples, and of those at hand."""
    generators: HostState
    fields: dict[str, Any]
    """The dataset's own numbers."""


class NotingIterator:
    """What a loader asks for the indices of each batch, from the thread that makes it ahead of the program.

    The thread draws from the global generators as the program does. So that another process can have the same numbers
    drawn for the same things, it is known at a save which batches have been made, and with a `gate` the thread makes
    just these before it waits until the generators stand where they stood.
    """

    def __init__(self, sampler: Any, dataset: Any, places: deque[Place], gate: Optional[int] = None) -> None:
        self._inner = iter(sampler)
        self._dataset = dataset
        self._places = places
        self._gate = gate
        self._is_open = threading.Event()
        self._digest = xxhash.xxh3_64()
        self._batches = 0
        self._begun = 0
        self.made = 0
        """How many batches were made, with those that were passed over."""
        self._ahead: Optional[tuple[Any, ...]] = None

    def __iter__(self) -> NotingIterator:
        return self

    def __next__(self) -> Any:
        if self._begun == self._gate:
            self._is_open.wait()
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
            self.made += 1
            return batch

        return noting

    def between_batches(self, thread: Any) -> tuple[int, HostState]:
        """How many batches were made, and where the generators stand, at a moment at which none is being made."""
        while True:
            begun, made = self._begun, self.made
            if begun == made or not thread.is_alive():
                generators = HostState.now()
                if begun == self._begun:
                    return made, generators
            time.sleep(_MOMENT)

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
        try:
            indices = next(self._inner)
            self._count(indices)
            return indices
        finally:
            self._places.append(Place(batches, self._digest.intdigest(), HostState.now(), plain_fields(self._dataset)))

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
