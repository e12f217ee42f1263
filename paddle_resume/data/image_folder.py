"""A folder of images with a subfolder for each class, as a dataset with augmentation."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import PIL
import xxhash
from PIL import Image, ImageOps

from paddle_resume.data.augment import Transform
from paddle_resume.data.splits import SPLITS, Share, check_split, held_out
from paddle_resume.errors import ConfigError, DataError
from paddle_resume.storage.regular_files import open_regular, read_regular

# Formats that hold pixels. Others that Pillow knows run programs, such as Ghostscript, whatever the file is called.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MODES = {1: "L", 3: "RGB"}
# Of how many files the contents are digested; beyond that, these are spread over the whole.
_DIGESTED = 1000
_File = tuple[str, str]  # class and file name


class ImageFolder(paddle.io.Dataset):
    """Labelled images: sample i is `(float32 [channels, size, size] in 0..1, label int64 [1])`.

    Either `root/train/<class>/<image>` with, if they are there, `root/valid` and `root/test` beside it; or
    `root/<class>/<image>`. The classes are the folders' names in sorted order, those of `train` for every part. What
    has no folder of its own is held out: the test part of all images, the validation part of the training images,
    the same share of each class, chosen by the files' names.

    An image is turned as its EXIF data says, resized (bilinear) until its shorter side is `size`, and cut to its
    center. In the train part it then goes through `augment`, in that order.

    Args:
        root: the folder.
        size: height and width of a sample, in pixels.
        mode: the part, "train", "valid" or "test".
        channels: 3 (color) or 1 (gray).
        augment: transforms, see `paddle_resume.data.augment`.
        valid, test: the share held out: "auto" one sixth, a count, or a fraction. Not used for a part with a folder.

    Raises ConfigError for a wrong argument, DataError for a folder without images or an image that cannot be read:
    the first one of each class here, the others when they are asked for.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int = 64,
        mode: str = "train",
        channels: int = 3,
        augment: Sequence[Transform] = (),
        valid: Share = "auto",
        test: Share = 0.1,
    ) -> None:
        check_split(mode)
        if channels not in _MODES:
            raise ConfigError(f"data.channels is {channels}; expected 3 (color) or 1 (gray).")
        if size < 1:
            raise ConfigError(f"data.size is {size}; expected 1 or more pixels.")
        base = Path(root)
        self.classes, self._folder, self._files = _find(base, mode, valid, test)
        self.size = size
        self.channels = channels
        self.augment = tuple(augment) if mode == "train" else ()
        self.labels = np.array([self.classes.index(name) for name, _ in self._files], np.int64)
        self.source = f"{base}, {len(self.classes)} classes"
        for first in np.unique(self.labels, return_index=True)[1]:
            self._decode(int(first))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image = self._decode(index)
        if self.augment:
            # NumPy's global generator was seeded for this sample, see data/loading.py: so is the one that it seeds.
            generator = np.random.RandomState(np.random.randint(0, 2**32, dtype=np.uint32))
            for transform in self.augment:
                image = transform(image, generator)
        pixels = np.asarray(image, np.float32).reshape(self.size, self.size, self.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(255), self.labels[index].reshape(1)

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self._folder.joinpath(*self._files[index])

    def describe(self) -> dict[str, Any]:
        """What a model may want to know: `num_classes`, `channels` and `size`."""
        return {"num_classes": len(self.classes), "channels": self.channels, "size": self.size}

    def identity(self) -> str:
        """A digest of the files, and all that else decides a sample: size, channels, transforms, Pillow's version.

        The digest (xxh3_128) is of the name and size of every file and the content of up to 1,000 of them, spread
        over the whole.
        """
        return self._identity

    @cached_property
    def _identity(self) -> str:
        digest = xxhash.xxh3_128(repr(self.classes).encode())
        content = set(np.linspace(0, len(self) - 1, min(len(self), _DIGESTED)).astype(int).tolist())
        for index, (name, file) in enumerate(self._files):
            path = self.path(index)
            try:
                digest.update(f"{name}/{file} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
                if index in content:
                    digest.update(read_regular(path))
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        # A transform that does not say its arguments shows the address of the object, which is never the same.
        transforms = [re.sub(r" at 0x[0-9a-f]+", "", repr(transform)) for transform in self.augment]
        parts = [digest.hexdigest(), f"size {self.size}", f"channels {self.channels}", *transforms]
        return ", ".join([*parts, f"Pillow {PIL.__version__}"])

    def _decode(self, index: int) -> Image.Image:
        path = self.path(index)
        try:
            with open_regular(path) as file, Image.open(file, formats=FORMATS) as opened:
                if opened.mode.startswith(("I", "F")):
                    raise ValueError(f"its pixels are of mode {opened.mode}, with more than 8 bits; convert it to 8")
                image = ImageOps.exif_transpose(opened).convert(_MODES[self.channels])
        except Exception as error:  # Pillow's decoders raise many kinds for a damaged file.
            raise DataError(
                f"{path} cannot be read as an image: {error}. Replace the file, or take it out of the folder."
            ) from error
        return ImageOps.fit(image, (self.size, self.size), Image.Resampling.BILINEAR)


def _find(root: Path, mode: str, valid: Share, test: Share) -> tuple[list[str], Path, list[_File]]:
    """The classes, and the files of one part below their folder."""
    if not root.is_dir():
        raise DataError(f"data.root: there is no folder {root.resolve()}. {_LAYOUT}")
    nested = (root / "train").is_dir()
    base = root / "train" if nested else root
    classes, files = _list_classes(base)
    own = [part for part in SPLITS if nested and (root / part).is_dir()]
    if mode != "train" and mode in own:
        names, found = _list_classes(root / mode)
        unknown = sorted(set(names) - set(classes))
        if unknown:
            raise DataError(
                f"{root / mode} has the classes {', '.join(unknown)}, which {base} lacks; the classes of {base} count "
                f"for every part: {', '.join(classes)}."
            )
        return classes, root / mode, found
    if "test" not in own:
        files, tested = _hold_out(files, test, "data.test")
        if mode == "test":
            return classes, base, tested
    if "valid" not in own:
        files, validated = _hold_out(files, valid, "data.valid")
        if mode == "valid":
            return classes, base, validated
    return classes, base, files


_LAYOUT = "Images are expected in <root>/train/<class>/<image> or in <root>/<class>/<image>."


def _list_classes(folder: Path) -> tuple[list[str], list[_File]]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
        files = [
            (name, file)
            for name in names
            for file in sorted(entry.name for entry in os.scandir(folder / name))
            if file.lower().endswith(_SUFFIXES) and file[0] != "."
        ]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error
    empty = sorted(set(names) - {name for name, _ in files})
    if empty or len(names) < 2:
        state = f"holds no images in {', '.join(empty)}" if empty else f"has {len(names)} class folders, not 2 or more"
        raise DataError(f"{folder} {state}. {_LAYOUT} Known kinds: {' '.join(_SUFFIXES)}.")
    return names, files


def _hold_out(files: list[_File], share: Share, key: str) -> tuple[list[_File], list[_File]]:
    """What is left and what is held out, both in order: alike of each class, and each file by its own name.

    The name alone decides how early a file is taken, so that a new file moves few others.
    """
    count = held_out(share, len(files), key)
    by_class: dict[str, list[_File]] = {}
    for item in sorted(files, key=_place):
        by_class.setdefault(item[0], []).append(item)
    ranked = sorted(
        ((rank + 0.5) / len(members), item) for members in by_class.values() for rank, item in enumerate(members)
    )
    taken = {item for _, item in ranked[:count]}
    return [item for item in files if item not in taken], [item for item in files if item in taken]


def _place(item: _File) -> int:
    return xxhash.xxh3_64_intdigest("/".join(item).encode("utf-8", "surrogateescape"))
