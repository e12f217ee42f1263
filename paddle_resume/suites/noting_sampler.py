"""A batch sampler that notes where the data stand before each batch is made."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xxhash

_PLAIN = (bool, int, float, str, type(None))


class Place(NamedTuple):
    """Where the data stood before a batch was made."""

    batches: int
    """How many had been made."""
    digest: int
    """Of the indices of their samples."""
    python: Any
    numpy: Any
    fields: dict[str, Any]
    """The dataset's own numbers."""


class NotingIterator:
    """What a loader asks for the indices of each batch, from the thread that makes it."""

    def __init__(self, sampler: Any, dataset: Any, places: deque[Place]) -> None:
        self._inner = iter(sampler)
        self._dataset = dataset
        self._places = places
        self._digest = xxhash.xxh3_64()
        self._batches = 0

    def __iter__(self) -> NotingIterator:
        return self

    def __next__(self) -> Any:
        python, numpy = random.getstate(), np.random.get_state(legacy=True)
        fields = plain_fields(self._dataset)
        self._places.append(Place(self._batches, self._digest.intdigest(), python, numpy, fields))
        return self._take()

    def pass_over(self, batches: int) -> int:
        """Give out no indices of so many batches; returns the digest of what was passed over.

        It ends early where there are fewer.
        """
        for _ in range(batches):
            if self._take(None) is None:
                break
        return self._digest.intdigest()

    def _take(self, *default: Any) -> Any:
        indices = next(self._inner, *default)
        self._digest.update(repr(indices).encode())
        self._batches += 1
        return indices


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
