"""Python's and NumPy's global generators, from which data are drawn: where they stand, as plain values."""

from __future__ import annotations

import random
from typing import Any

import numpy as np


def host_state() -> list[Any]:
    """Where they stand now."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return [version, np.array(words, np.uint32), gauss, str(kind), keys, int(position), int(has_gauss), float(cached)]


def set_host_state(state: list[Any]) -> None:
    """Have them stand there."""
    version, words, gauss, *numpy = state
    random.setstate((version, tuple(map(int, words)), gauss))
    np.random.set_state(tuple(numpy))
