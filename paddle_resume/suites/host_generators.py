"""Python's and NumPy's global generators, from which data are drawn: where they stand, as plain values."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np


class HostState(NamedTuple):
    """Where they stand, as they tell it themselves: it is asked for at each batch, and has to be cheap."""

    python: Any
    numpy: Any

    @classmethod
    def now(cls) -> HostState:
        return cls(random.getstate(), np.random.get_state(legacy=True))

    def is_same(self, other: HostState) -> bool:
        """Whether nothing was drawn between the two."""
        words, others = self.numpy, other.numpy
        return self.python == other.python and words[2:] == others[2:] and np.array_equal(words[1], others[1])

    def values(self) -> list[Any]:
        """As a record can hold it."""
        version, words, gauss = self.python
        kind, keys, position, has_gauss, cached = self.numpy
        numpy = [str(kind), keys, int(position), int(has_gauss), float(cached)]
        return [version, np.array(words, np.uint32), gauss, *numpy]


def host_state() -> list[Any]:
    """Where they stand now, as a record can hold it."""
    return HostState.now().values()


def set_host_state(state: list[Any]) -> None:
    """Have them stand there."""
    version, words, gauss, *numpy = state
    random.setstate((version, tuple(map(int, words)), gauss))
    np.random.set_state(tuple(numpy))
