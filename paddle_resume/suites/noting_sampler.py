"""A batch sampler that notes where the data stand before each batch is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple, Optional

import xxhash

from paddle_resume.suites.host_generators import HostState

_PLAIN = (bool, int, float, str, type(None))


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
    """What a loader asks for the indices of each batch, from the thread that makes it.

    `leaves_generators` is called when a batch was made that has drawn from no global generator.
    """

    def __init__(self, sampler: Any, dataset: Any, places: deque[Place], leaves_generators: Callable[[], None]) -> None:
        self._inner = iter(sampler)
        self._dataset = dataset
        self._places = places
        self._leaves_generators = leaves_generators
        self._given: Optional[HostState] = None
        """Where the generators stood when the last indices were given out."""
        self._digest = xxhash.xxh3_64()
        self._batches = 0
        self._ahead: Optional[tuple[Any, ...]] = None

    def __iter__(self) -> NotingIterator:
        return self

    def __next__(self) -> Any:
        if self._given is not None and self._given.is_same(HostState.now()):
            self._leaves_generators()
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            if not ahead:
                raise StopIteration
            indices = ahead[0]
        else:
            indices = self._take()
        self._given = HostState.now()
        return indices

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


def plain_fields(dataset: Any) -> dict[str, Any]:
    """The plain values that a dataset keeps, such as the number of its epoch."""
    return {name: value for name, value in getattr(dataset, "__dict__", {}).items() if type(value) in _PLAIN}
