"""CIFAR as Paddle has it, whose archives of pickles are read by the restricted reader in place of `pickle.load`."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from paddle.vision import datasets

from paddle_resume.errors import CheckpointError, DataError
from paddle_resume.storage.regular_files import open_regular
from paddle_resume.storage.restricted_pickle import parse_foreign

_UNPACKED = 4  # How often its own size an archive may hold: images of noise and photographs pack badly.
_MOST_MEMBERS, _LONGEST_NAME = 100, 1 << 12
_PIXELS = 3 * 32 * 32


class _ReadSafely:
    """Takes the place of Paddle's `_load_data`, and gives the same `data`: (3072 bytes, label) a sample."""

    data_file: Any
    flag: str
    data: Any

    def _load_data(self) -> None:
        self.data = []
        for name, raw in sorted(_members(Path(self.data_file), self.flag)):
            try:
                batch = parse_foreign(Path(self.data_file, name), raw)
            except CheckpointError as error:
                raise DataError(str(error)) from error
            content = batch if isinstance(batch, dict) else {}
            content = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
            pixels, labels = content.get("data"), content.get("labels", content.get("fine_labels"))
            if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
                raise DataError(f"{self.data_file}: {name} holds no images of CIFAR; fetch the file again.")
            if not isinstance(labels, list) or len(labels) != len(pixels):
                raise DataError(f"{self.data_file}: {name} does not hold a label for each image; fetch the file again.")
            self.data += zip(pixels, labels)
        if not self.data:
            raise DataError(f"{self.data_file} holds no {self.flag} of CIFAR; fetch the file again.")


class _Entry(tarfile.TarInfo):
    """Reads no name or note longer than any name is: `tarfile` would take it into memory, however long."""

    def _proc_member(self, archive: Any) -> Any:
        if self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) and self.size > _LONGEST_NAME:
            raise tarfile.HeaderError("a name in it is too long")
        return super()._proc_member(archive)  # type: ignore[misc]


def _members(path: Path, flag: str) -> Iterator[tuple[str, bytes]]:
    """The files of the archive with `flag` in their names; raises DataError."""
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Entry) as archive:
            left = _UNPACKED * os.fstat(file.fileno()).st_size + (1 << 20)
            for count, member in enumerate(archive):
                left -= member.size
                if count > _MOST_MEMBERS or left < 0:
                    raise ValueError(f"{member.name[:60]} is more than any has")
                stream = archive.extractfile(member) if member.isfile() and flag in member.name else None
                if stream is not None:
                    yield member.name, stream.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"{path} is no archive of CIFAR: {error}. Fetch the file again.") from error


class Cifar10(_ReadSafely, datasets.Cifar10):
    """`paddle.vision.datasets.Cifar10`, with the same arguments and samples. Raises DataError for another archive."""


class Cifar100(_ReadSafely, datasets.Cifar100):
    """`paddle.vision.datasets.Cifar100`, with the same arguments and samples. Raises DataError for another archive."""
