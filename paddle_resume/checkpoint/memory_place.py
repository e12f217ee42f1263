"""Where the checkpoints in memory of a run lie, whose they are, and which of them nobody will come back for."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Optional

from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.durable_files import create_new, temporary
from paddle_resume.storage.regular_files import read_regular

SHARED_MEMORY = Path("/dev/shm")
"""A file system in memory, on Linux; what lies there is gone with the machine, and with nothing else."""
SLOTS = ("slot0", "slot1")
_OWNER, _POINTER = "run.json", ".memory"
_ID = 16  # bytes, in hex
_MOST_BYTES = 1 << 16
_UNKNOWN_DAYS = 7


class Place(NamedTuple):
    """A folder in shared memory, and the run that has its checkpoints there."""

    folder: Path
    save_dir: str
    name: str
    namespace: str
    """Of the mounts among which `save_dir` means something: those of a container, or the machine's."""

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return sum(path.stat().st_size for path in self.folder.iterdir()) if self.folder.is_dir() else 0

    @property
    def is_wanted(self) -> bool:
        """Whether its run, if it goes on, will look here."""
        if self.namespace != _namespace():
            newest = max((path.stat().st_mtime for path in self.folder.iterdir()), default=0.0)
            return time.time() - newest < _UNKNOWN_DAYS * 86400
        return read_pointer(Path(self.save_dir), self.name) == self.folder.name

    def remove(self) -> None:
        """Give the memory back."""
        shutil.rmtree(self.folder, ignore_errors=True)


def home() -> Path:
    """The folder of all that this user has in shared memory; raises OSError if it is not this user's alone."""
    folder = SHARED_MEMORY / f"paddle_resume-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OSError(f"{folder} is not this user's alone")
    return folder


def make_place(save_dir: Path, name: str, number: str = "") -> Place:
    """A new place for the run `name` in `save_dir`, to which that folder points from now on; raises OSError.

    `number` is the name of its folder, where another node has made that of the same run, and what points there.
    """
    place = Place(home() / (number or secrets.token_hex(_ID)), os.path.realpath(save_dir), name, _namespace())
    if not number:
        # The pointer first: without it another run's start would take the place for a leftover.
        pointer = _pointer(save_dir, name)
        _write(temporary(pointer), place.folder.name)
        temporary(pointer).replace(pointer)
    place.folder.mkdir(mode=0o700)
    _write(place.folder / _OWNER, json.dumps({"save_dir": place.save_dir, "name": name, "mounts": place.namespace}))
    return place


def find_place(save_dir: Path, name: str) -> Optional[Place]:
    """The place to which the folder of the run points; None if there is none, or it is another run's."""
    number = read_pointer(save_dir, name)
    try:
        place = _read(home() / number) if number else None
    except OSError:
        return None
    is_here = place is not None and (place.save_dir, place.name) == (os.path.realpath(save_dir), name)
    return place if is_here else None


def forget_place(save_dir: Path, name: str) -> None:
    """Remove what the run has in memory, and what points to it."""
    place = find_place(save_dir, name)
    with suppress(OSError):
        _pointer(save_dir, name).unlink(missing_ok=True)
    if place is not None:
        place.remove()


def all_places() -> Iterator[Place]:
    """All that this user has in shared memory."""
    try:
        folders = sorted(path for path in home().iterdir() if not path.is_symlink() and path.is_dir())
    except OSError:
        return
    for folder in folders:
        place = _read(folder)
        if place is not None:
            yield place


def remove_leftovers() -> int:
    """Remove what no run will come back for; returns how many bytes that was."""
    left = [(place, place.bytes) for place in all_places() if not place.is_wanted]
    for place, _ in left:
        place.remove()
    return sum(size for _, size in left)


def runs_in_memory(save_dir: Path) -> list[str]:
    """The names of the runs whose folder points to shared memory."""
    names = [path.name[1 : -len(_POINTER)] for path in save_dir.glob(f".*{_POINTER}")]
    return sorted(name for name in names if read_pointer(save_dir, name))


def read_pointer(save_dir: Path, name: str) -> str:
    """The name of the folder in shared memory to which the run's folder points; empty if to none."""
    try:
        text = read_regular(_pointer(save_dir, name), _MOST_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return text if len(text) == 2 * _ID and set(text) <= set("0123456789abcdef") else ""


def _pointer(save_dir: Path, name: str) -> Path:
    return save_dir / f".{name}{_POINTER}"


def _read(folder: Path) -> Optional[Place]:
    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return None
        owner = parse_json(read_regular(folder / _OWNER, _MOST_BYTES))
        return Place(folder, str(owner["save_dir"]), str(owner["name"]), str(owner["mounts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, text: str) -> None:
    fd = create_new(path)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/mnt").readlink())
    except OSError:
        return ""
