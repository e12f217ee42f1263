"""Find MNIST or Fashion-MNIST on this machine, or fetch it, and split it as the Paddle book does."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from paddle_resume.data import download
from paddle_resume.data.digits import digits_like_mnist
from paddle_resume.data.idx import read_idx
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.data.paddle_book import BOOK_FILE, read_book
from paddle_resume.errors import ConfigError, DataError

DATA_VARIABLE = "PADDLE_RESUME_DATA"
_LABELS = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
# Train images, train labels, test images, test labels; each also with ".idx" for "-idx" and with ".gz".
_IDX_FILES = (
    ("train-images-idx3-ubyte", 3),
    ("train-labels-idx1-ubyte", 1),
    ("t10k-images-idx3-ubyte", 3),
    ("t10k-labels-idx1-ubyte", 1),
)


@dataclass(frozen=True)
class MnistSplits:
    """A dataset in three parts, where it came from (one line), and what the user should know about it."""

    train: ImageArrays
    valid: Optional[ImageArrays]
    test: ImageArrays
    source: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """Data as it was found, before validation samples are split off."""

    train: ImageArrays
    test: ImageArrays
    source: str
    note: Optional[str] = None


def label_names(name: str) -> tuple[str, ...]:
    """The names of the ten classes of `name`, by label; raises ConfigError for an unknown dataset."""
    _check_name(name)
    return _LABELS[name]


def load_mnist(
    name: str = "mnist",
    root: Union[str, Path, None] = None,
    fallback: Optional[str] = None,
    valid: Union[str, int, float] = "auto",
    transform: Optional[Callable[[Any], Any]] = None,
    eval_transform: Optional[Callable[[Any], Any]] = None,
) -> MnistSplits:
    """`name` ("mnist" or "fashion_mnist") as train, validation and test parts, images uint8 28x28.

    Looked for in this order: `root`, if given, and nowhere else (the four IDX files, gzipped or plain, there
    or in its mnist / fashion-mnist subfolder; or the Paddle book's mnist.json.gz); that subfolder of
    $PADDLE_RESUME_DATA; Paddle's cache; a download into it; and with `fallback="digits"` (MNIST only)
    the 1,797 small digits that come with this package, which a line in `notes` then says.

    `valid` samples are taken from the end of the training files: "auto" is one sixth (the last 10,000 of
    60,000, as in the Paddle book), an int a count, a float in (0, 1) a fraction, 0 none (`valid` is None).
    `transform` goes to the train part, `eval_transform` to the two others; see ImageArrays.

    Raises ConfigError for an unknown name or fallback, DataError for data missing or damaged.
    """
    _check_name(name)
    _check_fallback(name, fallback)
    notes: list[str] = []
    found = _read_root(name, Path(root)) if root is not None else _search(name, fallback, notes)
    if found.note:
        notes.append(found.note)
    total = len(found.train)
    stop = total - _valid_count(valid, total)
    train, held_out, test = found.train.subset(0, stop), None, found.test
    if stop < total:
        held_out = found.train.subset(stop, total)
        held_out.transform = eval_transform
    train.transform, test.transform = transform, eval_transform
    return MnistSplits(train, held_out, test, found.source, notes)


def found_locally(name: str = "mnist") -> Optional[Path]:
    """The folder from which `load_mnist` would read `name` without a root; None if it would have to download it."""
    _check_name(name)
    parent = os.environ.get(DATA_VARIABLE)
    if parent and not _idx_paths(folder := Path(parent) / download.folder_name(name))[1]:
        return folder
    files = download.remote_files(name)
    return files[0].path.parent if all(file.is_cached() for file in files) else None


def _check_name(name: str) -> None:
    if name not in _LABELS:
        raise ConfigError(f"Unknown dataset {name!r}; expected one of {', '.join(map(repr, _LABELS))}.")


def _check_fallback(name: str, fallback: Optional[str]) -> None:
    if fallback not in (None, "digits"):
        raise ConfigError(f"Unknown fallback {fallback!r}; expected 'digits' or none.")
    if fallback == "digits" and name != "mnist":
        raise ConfigError(
            f"{name} has no digits fallback: the small digits stand in for mnist only. Remove `fallback`, or use mnist."
        )


def _valid_count(valid: Union[str, int, float], total: int) -> int:
    if valid == "auto":
        return total // 6
    is_number = isinstance(valid, (int, float)) and not isinstance(valid, bool)
    if is_number and (valid == 0 or (isinstance(valid, float) and 0 < valid < 1)):
        count = round(float(valid) * total)
    else:
        count = valid if isinstance(valid, int) and is_number else -1
    if not 0 <= count < total:
        raise DataError(
            f"valid is {valid!r}; expected 'auto', a count in 0..{total - 1} (there are {total:,} training "
            "samples), or a fraction between 0 and 1."
        )
    return count


def _search(name: str, fallback: Optional[str], notes: list[str]) -> _Found:
    looked: list[str] = []
    parent = os.environ.get(DATA_VARIABLE)
    if parent:
        folder = Path(parent) / download.folder_name(name)
        paths, missing = _idx_paths(folder)
        if not missing:
            return _read_idx_files(paths, f"{name} from {folder} (${DATA_VARIABLE})")
        looked.append(f"{folder} (${DATA_VARIABLE}): {missing}")
        notes.append(f"${DATA_VARIABLE} was passed over: {folder}: {missing}")
    files = download.remote_files(name)
    cache = files[0].path.parent
    origin = "Paddle's cache"
    try:
        if not all(file.is_cached() for file in files):
            download.download(files)
            origin = "downloaded into Paddle's cache"
    except DataError as error:
        looked.append(f"{cache} (Paddle's cache): the four files are not all there and whole")
        looked.append(f"download: {error}")
    else:
        return _read_idx_files([file.path for file in files], f"{name} from {cache} ({origin})")
    if fallback == "digits":
        return _read_digits(looked[-1])
    raise DataError(
        f"{name} was not found. Looked at:\n"
        + "".join(f"  - {place}\n" for place in looked)
        + f"Put {', '.join(file.path.name for file in files)} into {cache}, or into a folder named "
        f"{cache.name} whose parent you name in ${DATA_VARIABLE}, or name their folder as the data root"
        + ("; or set `fallback: digits` to train on the small digits of this package." if name == "mnist" else ".")
    )


def _read_root(name: str, root: Path) -> _Found:
    book = root / BOOK_FILE if root.is_dir() else root
    folders = (root, root / download.folder_name(name))
    for folder in folders:
        paths, missing = _idx_paths(folder)
        if not missing:
            return _read_idx_files(paths, f"{name} from {folder}")
    if name == "mnist" and book.is_file():
        return _read_book(book)
    there = sorted(entry.name for entry in root.iterdir())[:8] if root.is_dir() else []
    state = f"a folder holding {', '.join(there) or 'nothing'}" if root.is_dir() else "no folder"
    wanted = ", ".join(f"{stem}[.gz]" for stem, _ in _IDX_FILES)
    raise DataError(
        f"{name} is not in the data root {root}, which is {state}. Looked for {wanted} in {folders[0]} and "
        f"{folders[1]}{f', and for {book}' if name == 'mnist' else ''}. Name the folder that holds the "
        "files, or leave the root out to have them looked for and fetched."
    )


def _idx_paths(folder: Path) -> tuple[list[Path], str]:
    """The four files in `folder`, and what is missing ("" if nothing is)."""
    paths, missing = [], []
    for stem, _ in _IDX_FILES:
        spellings = (stem, stem.replace("-idx", ".idx"))
        candidates = [folder / f"{spelling}{end}" for spelling in spellings for end in (".gz", "")]
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path:
            paths.append(path)
        else:
            missing.append(f"{stem}[.gz]")
    return paths, f"no {', '.join(missing)}" if missing else ""


def _read_idx_files(paths: Iterable[Path], source: str) -> _Found:
    paths = list(paths)
    images_train, labels_train, images_test, labels_test = (
        read_idx(path, dims) for path, (_, dims) in zip(paths, _IDX_FILES)
    )
    names = [str(path) for path in paths]
    return _Found(
        _ten_classes(images_train, labels_train, names[0], names[1]),
        _ten_classes(images_test, labels_test, names[2], names[3]),
        source,
    )


def _ten_classes(images: np.ndarray, labels: np.ndarray, *sources: str) -> ImageArrays:
    return ImageArrays(images, labels, num_classes=10, images_source=sources[0], labels_source=sources[-1])


def _read_book(path: Path) -> _Found:
    book = read_book(path)
    train = _ten_classes(*book.train, f"{path} (train and valid)")
    return _Found(train, _ten_classes(*book.test, f"{path} (test)"), f"mnist from {path} (Paddle book)", book.note)


def _read_digits(reason: str) -> _Found:
    everything = _ten_classes(*digits_like_mnist(), "the small digits")
    stop = len(everything) - len(everything) // 6
    note = (
        f"MNIST was not found, so this run uses the {len(everything):,} small digits that come with paddle_resume "
        f"instead; its accuracies are not those of MNIST ({reason})"
    )
    test = everything.subset(stop, len(everything))
    return _Found(everything.subset(0, stop), test, "the small digits of paddle_resume (fallback)", note)
