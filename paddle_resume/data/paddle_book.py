"""MNIST as the Paddle book has it, a JSON file of floats, read back as the bytes that the floats were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from paddle_resume.data.idx import open_maybe_gzip
from paddle_resume.errors import DataError

BOOK_FILE = "mnist.json.gz"


class BookData(NamedTuple):
    """Images uint8 [N, 28, 28] and labels int64 [N]; `note` says how the pixels were read, if that needs saying."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    note: Optional[str]


class _Numbers(dict[str, int]):
    """Numbers of a JSON text by their spelling: each new one gets the next code."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]


def read_book(path: Path) -> BookData:
    """The Paddle book's file: [[images, labels]] x train, valid, test, rows of 784 floats in 0..1.

    The validation samples are the last of `train`, as they are in the IDX files. Raises DataError for anything else.
    """
    numbers = _Numbers()
    try:
        with open_maybe_gzip(path) as stream:
            # Pixels have few distinct values. As small codes they need a quarter of the memory of floats.
            parts = json.load(stream, parse_float=numbers.__getitem__, parse_int=numbers.__getitem__)
        images, labels = zip(*((_codes(rows, 2), _codes(digits, 1)) for rows, digits in parts))
        if len(images) != 3:
            raise ValueError(f"found {len(images)} parts")
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{path} is not the Paddle book's MNIST file: expected JSON [[images, labels], [images, labels], "
            f"[images, labels]] with rows of 784 numbers; {error}. Fetch the file again."
        ) from error
    values = np.array([float(text) for text in numbers])
    levels, scale = _pixel_levels(path, values, np.concatenate(images))
    whole = np.where(values % 1 == 0, values, -1).astype(np.int64)
    train, test = (
        (levels[np.concatenate(images[part])].reshape(-1, 28, 28), whole[np.concatenate(labels[part])])
        for part in (slice(0, 2), slice(2, 3))
    )
    note = f"{path} holds pixels as n/256: they are read as the bytes n, and fed as n/255 like the IDX files"
    return BookData(train, test, note if scale == 256 else None)


def _codes(nested: Any, ndim: int) -> np.ndarray:
    codes = np.asarray(nested)
    is_table = codes.ndim == ndim and np.issubdtype(codes.dtype, np.integer)
    if not is_table or (ndim == 2 and codes.shape[1] != 784):
        raise ValueError(f"found {codes.dtype} {list(codes.shape)}")
    return codes


def _pixel_levels(path: Path, values: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """uint8 by code, and the scale; MNIST as floats is found as n/255 and (from mnist.pkl) as n/256."""
    used = np.unique(codes)
    misfits = []
    for scale in (255, 256):
        levels = np.rint(values * scale)
        exact = (levels >= 0) & (levels <= 255) & (np.abs(levels / scale - values) <= 1e-6)
        if exact[used].all():
            return levels.clip(0, 255).astype(np.uint8), scale
        misfits.append(values[used][~exact[used]])
    # Of the nearer scale: there the values that spoil it are few, and the first of them says something.
    first = min(misfits, key=len)[0]
    raise DataError(
        f"{path} holds the pixel value {float(first)!r}, which is neither n/255 nor n/256 for a byte n like "
        "the others, so the images cannot be kept as bytes without changing them. Use the IDX files instead."
    )
