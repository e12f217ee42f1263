"""The small handwritten digits that come with this package, and how they stand in for MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

# Whose they are and under which licence: digits_source.md beside it.
_FILE = Path(__file__).parent / "digits.csv.gz"


class Digits(NamedTuple):
    """Scans int64 [1797, 8, 8] with values 0..16, and what they show, int64 [1797] in 0..9."""

    images: np.ndarray
    labels: np.ndarray


def load_digits() -> Digits:
    """The 1,797 scans of the test set of "Optical Recognition of Handwritten Digits" (UCI; E. Alpaydin, C. Kaynak).

    The same numbers in the same order as `sklearn.datasets.load_digits()` gives.
    """
    table = np.loadtxt(_FILE, dtype=np.int64, delimiter=",")
    return Digits(table[:, :-1].reshape(-1, 8, 8), table[:, -1])


def digits_like_mnist() -> tuple[np.ndarray, np.ndarray]:
    """They as uint8 [1797, 28, 28] in 0..255, each pixel three times and a border of two; and their labels."""
    images, labels = load_digits()
    scans = (images * 255 // 16).astype(np.uint8)
    return np.pad(scans.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2))), labels
