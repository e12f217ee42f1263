"""MNIST as the Paddle book has it, a JSON file of floats, read back as the bytes that the floats were made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from paddle_resume.data.idx import open_maybe_gzip
from paddle_resume.errors import DataError

BOOK_FILE = "mnist.json.gz"
# MNIST as such a file unpacks to 20 times its size; more than these is no MNIST, and could be any amount.
_MOST_TIMES, _MOST_BYTES, _MIB = 32, 2 << 30, 1 << 20
_MOST_NUMBERS = 1 << 15
_ROW, _MOST_LABELS = 784, 100_000
_NUMBERS = re.compile(rb"\[[\d.eE+\-,\s]*\]")
_INNERMOST = re.compile(rb"\[([^\[\]]*)\]")
# What stands before each innermost list, without spaces: a first row, further ones, and the labels behind them.
_FIRST, _FURTHER, _LABELS, _NEXT, _END = b"[[[", b",", b"],", b"],[[", b"]]"


class BookData(NamedTuple):
    """Images uint8 [N, 28, 28] and labels int64 [N]; `note` says how the pixels were read, if that needs saying."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    note: Optional[str]


class _Numbers(dict[str, int]):
    """Numbers of a JSON text by their spelling: each new one gets the next code."""

    def __missing__(self, text: str) -> int:
        if len(self) == _MOST_NUMBERS:
            raise ValueError(f"found more than {_MOST_NUMBERS:,} different numbers")
        self[text] = len(self)
        return self[text]


def read_book(path: Path) -> BookData:
    """The Paddle book's file: [[images, labels]] x train, valid, test, rows of 784 floats in 0..1.

    The validation samples are the last of `train`, as they are in the IDX files. Raises DataError for anything else.
    """
    numbers = _Numbers()
    try:
        images, labels = _parts(_content(path), numbers)
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


def _content(path: Path) -> bytes:
    """All of the file, unpacked; raises ValueError where that is more than a file of its size on disk holds."""
    with open_maybe_gzip(path) as stream:
        found = path.stat()
        on_disk = max(found.st_blocks * 512, min(found.st_size, _MIB))
        most = min(_MOST_BYTES, _MOST_TIMES * on_disk + _MIB)
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it holds more than the {most:,} bytes that a file of its size does")
    return content


def _parts(content: bytes, numbers: _Numbers) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images [N, 784] and labels [N] of each of the three parts, as codes; row by row, so that no list holds all."""
    rows: list[list[np.ndarray]] = []
    labels: list[np.ndarray] = []
    place = 0
    for found in _INNERMOST.finditer(content):
        between = b"".join(content[place : found.start()].split())
        codes, place = _codes(found[0], numbers), found.end()
        if between == (_NEXT if rows else _FIRST) and len(rows) == len(labels) < 3:
            rows.append([])
        elif between == _LABELS and len(rows) == len(labels) + 1:
            labels.append(codes)
            continue
        elif between != _FURTHER or len(rows) != len(labels) + 1:
            raise ValueError(f"found {between[:20].decode(errors='replace')!r} before byte {found.start():,}")
        if codes.shape != (_ROW,):
            raise ValueError(f"found a row of {codes.size}")
        rows[-1].append(codes)
    if b"".join(content[place:].split()) != _END or len(labels) != 3:
        raise ValueError(f"found {len(labels)} parts")
    return [np.stack(part) for part in rows], labels


def _codes(text: bytes, numbers: _Numbers) -> np.ndarray:
    if not _NUMBERS.fullmatch(text) or text.count(b",") > _MOST_LABELS:
        raise ValueError(f"found no list of up to {_MOST_LABELS:,} numbers")
    codes = json.loads(text.decode(), parse_float=numbers.__getitem__, parse_int=numbers.__getitem__)
    # Pixels have few distinct values: as small codes they need a quarter of the memory of floats.
    return np.array(codes, np.uint16)


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
