"""Python's and NumPy's global generators, from which data are drawn: where they stand, as plain values."""

from __future__ import annotations

import pickle
import random
import struct
from typing import Any, NamedTuple, Union

import numpy as np

from paddle_resume.rng import PYTHON, memory_of_gauss, memory_of_numpy, memory_of_python

_VERSION = random.getstate()[0]
_NO_GAUSS = b""


class HostState(NamedTuple):
    """Where they stand: it is asked for several times a batch, and has to be cheap.

    So these are their words as they lie in memory, or what they tell where those are not to be had.
    """

    python: Union[bytes, tuple[Any, ...]]
    python_gauss: Any
    numpy: Union[bytes, tuple[Any, ...]]
    numpy_gauss: bytes

    @classmethod
    def now(cls) -> HostState:
        words, (numpys, gauss) = memory_of_python(), _numpy_now()
        return cls(bytes(words) if words is not None else random.getstate(), PYTHON.gauss_next, numpys, gauss)

    def is_same(self, other: HostState) -> bool:
        """Whether nothing was drawn between the two."""
        if isinstance(self.numpy, bytes) and isinstance(other.numpy, bytes):
            return self == other
        return pickle.dumps(self) == pickle.dumps(other)  # An array is compared by all that it holds.

    def values(self) -> list[Any]:
        """As a record can hold it."""
        if isinstance(self.python, bytes):
            place, *words = np.frombuffer(self.python, np.uint32)
            words = [*words, place]
        else:
            words = self.python[1]
        return [_VERSION, np.array(words, np.uint32), self.python_gauss, *self._numpy_values()]

    def _numpy_values(self) -> list[Any]:
        if isinstance(self.numpy, bytes):
            *keys, position = np.frombuffer(self.numpy, np.uint32)
            has_gauss, cached = struct.unpack("=id", self.numpy_gauss)
            return ["MT19937", np.array(keys, np.uint32), int(position), int(has_gauss), float(cached)]
        kind, keys, position, has_gauss, cached = self.numpy
        return [str(kind), keys, int(position), int(has_gauss), float(cached)]


def _numpy_now() -> tuple[Union[bytes, tuple[Any, ...]], bytes]:
    words = memory_of_numpy()
    gauss = memory_of_gauss() if words is not None else None
    if words is None or gauss is None:
        told: Any = np.random.get_state(legacy=True)
        return told, _NO_GAUSS
    return bytes(words), gauss


def host_state() -> list[Any]:
    """Where they stand now, as a record can hold it."""
    return HostState.now().values()


def set_host_state(state: list[Any]) -> None:
    """Have them stand there."""
    version, words, gauss, *numpy = state
    random.setstate((version, tuple(map(int, words)), gauss))
    np.random.set_state(tuple(numpy))
