"""Puts the files of an export under their names so that stock Paddle never finds parts of two exports there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from paddle_resume.inference.description import ONNX, PARAMETERS, PROGRAMS, SUFFIX, Format, description_path
from paddle_resume.storage.durable_files import DISK, FileSystem, make_folder


def make_staging(target: Path, disk: FileSystem = DISK) -> Path:
    """A fresh hidden folder beside `target` to write into; those that ended processes have left are removed.

    Raises OSError.
    """
    make_folder(target.parent, disk)
    for left in target.parent.glob(f".{target.name}.export.*.tmp"):
        owner = left.name.split(".")[-2]
        if owner.isdigit() and (int(owner) == os.getpid() or not psutil.pid_exists(int(owner))):
            shutil.rmtree(left)
    staging = target.with_name(f".{target.name}.export.{os.getpid()}.tmp")
    staging.mkdir()
    return staging


def publish(staging: Path, target: Path, format: Format, disk: FileSystem = DISK) -> list[Path]:
    """Move every file of `staging` to the folder of `target`, in place of an earlier export; returns their paths.

    Invariants: a program lies under its name only while the parameters beside it are its own, and the description
    only while all else is there. Whatever has to go goes before, and what cannot be used alone comes last.
    Raises OSError.
    """
    files = sorted(staging.iterdir(), key=lambda path: _order(path.name))
    for path in files:
        disk.fsync_file(path)
    ends = (ONNX,) if format == "onnx" else (*PARAMETERS, *PROGRAMS)
    old = [*(target.with_name(f"{target.name}{end}") for end in ends), description_path(target, format)]
    with _alone_in(target.parent):
        for path in reversed(old):
            disk.unlink(path)
        disk.fsync_folder(target.parent)
        for path in files[:-1]:
            disk.rename(path, target.with_name(path.name))
        disk.fsync_folder(target.parent)
        disk.rename(files[-1], target.with_name(files[-1].name))
        disk.fsync_folder(target.parent)
    staging.rmdir()
    return [target.with_name(path.name) for path in files]


def _order(name: str) -> int:
    return 2 if name.endswith(SUFFIX) else 1 if name.endswith(PROGRAMS) else 0


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep a second export into the same folder waiting; file systems without locks do without."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
