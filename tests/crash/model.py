"""A model of a disk that loses power: what may be on it after a cut, of everything that a save had asked for.

The rules are those of POSIX, and weaker than any journalling file system in use: bytes that were not fsynced may be
there, be lost, be zeros or be torn at a block; each change of a name that no fsync of its folder has followed may have
happened or not, in any combination; and a folder that was made is there for certain once its parent was fsynced.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddle_resume.storage.durable_files import FileSystem

_BLOCK = 512
Names = dict[str, int]


class Cut(BaseException):
    """The process dies here; nothing in the package may catch it."""


@dataclass
class Journal:
    """Every change that was asked for in one folder, in order, after `start`."""

    folder: Path
    start: dict[str, bytes] = field(default_factory=dict)
    changes: list[tuple[Any, ...]] = field(default_factory=list)
    names: Names = field(default_factory=dict)
    """The names as the processes see them."""
    unsafe: set[Path] = field(default_factory=set)
    """Folders that must be fsynced before this one is there for certain: the parents of those that are made."""
    _next: int = 0

    def __post_init__(self) -> None:
        self.unsafe = {one.parent for one in (self.folder, *self.folder.parents) if not one.exists()}
        for path in [] if self.unsafe else sorted(self.folder.iterdir()):
            if not path.name.endswith(".lock"):
                self.start[path.name] = path.read_bytes()
                self.names[path.name] = self.new()

    def new(self) -> int:
        """The number of a new file."""
        self._next += 1
        return self._next - 1


class Recorder(FileSystem):
    """Acts on the real folder, and writes down every change; dies after the first `lives` of them."""

    def __init__(self, journal: Journal, lives: int = 1 << 30) -> None:
        self._journal, self._lives = journal, lives
        self._files: dict[int, int] = {}

    def _note(self, *change: Any) -> None:
        self._lives -= 1
        if self._lives < 0:
            raise Cut
        self._journal.changes.append(change)

    def create(self, path: Path) -> int:
        names = self._journal.names
        if path.name in names:
            self._note("unlink", path.name)
        self._note("link", path.name, self._journal.new())
        names[path.name] = self._journal.changes[-1][2]
        fd = super().create(path)
        self._files[fd] = names[path.name]
        return fd

    def reserve(self, fd: int, size: int) -> None:
        self._note("reserve", self._files[fd], size)
        super().reserve(fd, size)

    def write(self, fd: int, data: memoryview) -> int:
        data = data[:4096]
        self._note("write", self._files[fd], bytes(data))
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._note("fsync", self._files[fd])
        super().fsync(fd)

    def fsync_file(self, path: Path) -> None:
        self._note("fsync", self._journal.names[path.name])

    def rename(self, source: Path, target: Path) -> None:
        names = self._journal.names
        if source.name in names:
            self._note("rename", source.name, target.name, names[source.name])
            names[target.name] = names.pop(source.name)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        if path.name in self._journal.names:
            self._note("unlink", path.name)
            del self._journal.names[path.name]
        super().unlink(path)

    def fsync_folder(self, folder: Path) -> None:
        self._note("sync folder", folder)
        super().fsync_folder(folder)


class NoFileSync(Recorder):
    """Negative control: the bytes of files are never fsynced."""

    def fsync(self, fd: int) -> None:
        pass

    def fsync_file(self, path: Path) -> None:
        pass


class NoFolderSync(Recorder):
    """Negative control: names are never made durable."""

    def fsync_folder(self, folder: Path) -> None:
        pass


class InPlace(Recorder):
    """Negative control: everything is fsynced, but written straight to its final name."""

    def create(self, path: Path) -> int:
        return super().create(path.with_name(path.name.removeprefix(".").removesuffix(".tmp")))

    def rename(self, source: Path, target: Path) -> None:
        if source.exists():
            super().rename(source, target)


def crash_states(
    journal: Journal, after: int, draw: random.Random, most: int = 24
) -> Iterator[dict[str, bytes] | None]:
    """The folders that a power cut after the first `after` changes may leave; None is no folder at all.

    All of them where there are at most `most`, else the extremes and as many drawn as make `most`.
    """
    numbers = {name: number for number, name in enumerate(journal.start)}
    names: Names = dict(numbers)
    durable = {number: journal.start[name] for name, number in numbers.items()}
    seen: dict[int, bytearray] = {number: bytearray(raw) for number, raw in durable.items()}
    ends = {number: len(raw) for number, raw in durable.items()}
    loose: set[int] = set()
    pending: list[tuple[Any, ...]] = []
    unsafe = set(journal.unsafe)
    for change in journal.changes[:after]:
        kind, *what = change
        if kind in ("link", "rename", "unlink"):
            pending.append(change)
            if kind == "link":
                durable[what[1]], seen[what[1]], ends[what[1]] = b"", bytearray(), 0
        elif kind == "sync folder" and what[0] != journal.folder:
            unsafe.discard(what[0])
        elif kind == "sync folder":
            names = _apply(names, pending)
            pending = []
        elif kind == "fsync":
            durable[what[0]] = bytes(seen[what[0]])
            loose.discard(what[0])
        else:
            loose.add(what[0])
            _change(kind, what, seen, ends)
    if unsafe:
        yield None
    versions = {number: _versions(durable[number], bytes(seen[number])) for number in sorted(loose)}
    choices = [*([False, True] for _ in pending), *(range(len(v)) for v in versions.values())]
    for choice in _some(choices, draw, most):
        happened = [change for change, is_there in zip(pending, choice) if is_there]
        bytes_of = {n: v[i] for (n, v), i in zip(versions.items(), choice[len(pending) :])}
        yield {name: bytes_of.get(number, durable[number]) for name, number in _apply(names, happened).items()}


def _change(kind: str, what: list[Any], seen: dict[int, bytearray], ends: dict[int, int]) -> None:
    number = what[0]
    if kind == "reserve":
        seen[number].extend(bytes(max(0, what[1] - len(seen[number]))))
    else:
        end = ends[number] + len(what[1])
        seen[number].extend(bytes(max(0, end - len(seen[number]))))
        seen[number][ends[number] : end] = what[1]
        ends[number] = end


def _apply(names: Names, changes: list[tuple[Any, ...]]) -> Names:
    names = dict(names)
    for kind, *what in changes:
        if kind == "link":
            names[what[0]] = what[1]
        elif kind == "unlink":
            names.pop(what[0], None)
        else:
            if names.get(what[0]) == what[2]:
                del names[what[0]]
            names[what[1]] = what[2]
    return names


def _versions(durable: bytes, seen: bytes) -> list[bytes]:
    """What may be on the disk of a file that was not fsynced: all, nothing, zeros, or a part up to a block."""
    torn = max(0, len(seen) - 1) // _BLOCK * _BLOCK
    middle = len(seen) // 2 // _BLOCK * _BLOCK
    every = [
        seen,
        durable,
        b"",
        bytes(len(seen)),
        seen[:torn],
        seen[:torn] + bytes(len(seen) - torn),
        bytes(middle) + seen[middle:],
    ]
    return list(dict.fromkeys(every))


def _some(choices: list[Any], draw: random.Random, most: int) -> Iterator[tuple[int, ...]]:
    total = 1
    for one in choices:
        total *= len(one)
    if total <= most:
        yield from itertools.product(*choices)
        return
    yield tuple(one[0] for one in choices)
    yield tuple(one[-1] for one in choices)
    for _ in range(most - 2):
        yield tuple(draw.choice(one) for one in choices)
