"""Which images a person means by files, folders and IDX files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np

from paddle_resume.data.idx import open_maybe_gzip, read_idx
from paddle_resume.errors import DataError
from paddle_resume.inference.description import ImageFormat
from paddle_resume.inference.images import fit_image, image_suffixes, read_image

_IDX_START = b"\0\0\x08"  # of uint8, with any number of dimensions


@dataclass(frozen=True)
class ImageSource:
    """One image by its name: a file, or a file and the number of the image in it; `load` raises DataError."""

    name: str
    load: Callable[[ImageFormat, bool], np.ndarray]


@dataclass(frozen=True)
class Failure:
    """One path or image that could not be read, and why: a whole message."""

    name: str
    reason: str


@dataclass(frozen=True)
class FoundImages:
    """The images in the order in which they were named, and the paths that gave none."""

    images: list[ImageSource] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def find_images(paths: Iterable[str]) -> FoundImages:
    """Every image that `paths` name. A folder stands for all images below it, by name; hidden files are left out."""
    found = FoundImages()
    for path in map(Path, paths):
        try:
            found.images.extend(_in_folder(path) if path.is_dir() else _in_file(path))
        except DataError as error:
            found.failures.append(Failure(str(path), str(error)))
    return found


def read_labels(path: str, images: int) -> np.ndarray:
    """The labels int64 [N] in an IDX file; raises DataError unless there is one for each image."""
    labels = read_idx(path, dims=1)
    if len(labels) != images:
        raise DataError(
            f"--labels {path} holds {len(labels):,} labels, and {images:,} images were named; each needs one."
        )
    return labels.astype(np.int64)


def _in_folder(folder: Path) -> list[ImageSource]:
    suffixes = image_suffixes()
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.suffix.lower() in suffixes or "idx3-ubyte" in path.name)
        and path.is_file()
    ]
    if not files:
        raise DataError(f"{folder} is a folder without images; expected files such as digit.png in it.")
    return [source for path in files for source in _in_file(path)]


def _in_file(path: Path) -> list[ImageSource]:
    if not path.exists():
        raise DataError(f"{path} does not exist. Check the path.")
    if path.suffix == ".gz" or _starts_as_idx(path):
        return _in_idx(path)
    return [ImageSource(str(path), lambda wanted, invert: read_image(path, wanted, invert))]


def _starts_as_idx(path: Path) -> bool:
    try:
        with open_maybe_gzip(path) as stream:
            return stream.read(3) == _IDX_START
    except DataError:
        return False  # Reading it as an image will tell why.


def _in_idx(path: Path) -> list[ImageSource]:
    images = read_idx(path, dims=3)
    return [ImageSource(f"{path}[{i}]", _loader(row)) for i, row in enumerate(images)]


def _loader(row: np.ndarray) -> Callable[[ImageFormat, bool], np.ndarray]:
    def load(wanted: ImageFormat, invert: bool) -> np.ndarray:
        if row.shape == (wanted.height, wanted.width) and wanted.mode == "L":
            return (255 - row if invert else row)[..., None]
        from PIL import Image

        return fit_image(Image.fromarray(row), wanted, invert)

    return load
