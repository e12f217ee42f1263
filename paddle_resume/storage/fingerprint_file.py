"""The file to which a run appends a fingerprint of each step, so that it outlives the process by a `kill -9`."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import xxhash

from paddle_resume.storage.durable_files import create_new, open_in_place, temporary
from paddle_resume.storage.regular_files import read_regular

_MAGIC = b"paddle_resume fingerprints 2\n\0\0\0"
_FIELDS = struct.Struct("<qQdQQ")
_DIGEST = struct.Struct("<Q")
_SIZE = _FIELDS.size + _DIGEST.size
_MOST_BYTES = 1 << 24


class Fingerprint(NamedTuple):
    """What tells whether a step, made again, came out the same."""

    step: int
    course: int
    """Which course of the run it belongs to; see `Lineage.course`."""
    loss: float
    data: int
    """A digest of what came in."""
    random: int
    """A digest of where the generators stood after it."""

    def packed(self) -> bytes:
        """Its bytes in the file, the last of them a digest of the others."""
        fields = _FIELDS.pack(*self)
        return fields + _DIGEST.pack(xxhash.xxh3_64_intdigest(fields))


class FingerprintFile:
    """Records of one size behind a header. Never synced: after a power cut there may be fewer, or none.

    All methods raise OSError. What cannot be read is left out by `read`, and never anything worse.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def read(self) -> tuple[list[Fingerprint], int]:
        """The fingerprints that are whole, in the order in which they came, and how many others there were.

        A last one that was cut short counts as none: the process died while it wrote it.
        """
        try:
            content = read_regular(self.path, _MOST_BYTES)
        except FileNotFoundError:
            return [], 0
        if _MAGIC.startswith(content):
            return [], 0
        if not content.startswith(_MAGIC):
            return [], max(1, len(content) // _SIZE)
        rows = [content[at : at + _SIZE] for at in range(len(_MAGIC), len(content) - _SIZE + 1, _SIZE)]
        found = [Fingerprint(*_FIELDS.unpack_from(row)) for row in rows]
        whole = [one for one, row in zip(found, rows) if one.packed() == row]
        return whole, len(rows) - len(whole)

    def append(self, fingerprints: Sequence[Fingerprint]) -> None:
        """Add these, in one write."""
        if self._fd < 0:
            self._open()
        _write(self._fd, b"".join(one.packed() for one in fingerprints))

    def rewrite(self, fingerprints: Iterable[Fingerprint]) -> None:
        """Have these and no others; at every instant the file holds the old or the new ones. Without any it goes."""
        self.close()
        rows = b"".join(one.packed() for one in fingerprints)
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        with os.fdopen(create_new(temporary(self.path)), "wb") as file:
            file.write(_MAGIC + rows)
        temporary(self.path).replace(self.path)

    def close(self) -> None:
        """Let go of the file until the next `append`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        whole, broken = self.read()
        size = len(_MAGIC) + _SIZE * len(whole)
        if broken or (self.path.exists() and self.path.stat().st_size != size):
            self.rewrite(whole)
        fd = open_in_place(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            if os.fstat(fd).st_size == 0:
                _write(fd, _MAGIC)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd


def _write(fd: int, content: bytes) -> None:
    """All of it or nothing, so that what comes next begins where it may."""
    written = os.write(fd, content)
    if written < len(content):
        os.ftruncate(fd, os.fstat(fd).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
