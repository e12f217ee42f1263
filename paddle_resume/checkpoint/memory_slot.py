"""One file in shared memory that holds one save, or nothing: never half of one."""

from __future__ import annotations

import mmap
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple, Optional

import xxhash

from paddle_resume.checkpoint.snapshot import Layout, map_memory
from paddle_resume.storage.durable_files import is_at

_MAGIC = b"PDRESUM1"
_HEADER = struct.Struct("<8sQQQ16s")  # magic, sequence, bytes of arrays, bytes of text, digest of all but the magic
_BEGIN = 64
"""Where the arrays begin; the text comes after them."""
_GRAIN = 1 << 16  # so that a state that grows a little needs no new mapping


class Content(NamedTuple):
    """What a slot holds; a later save has a higher `sequence`."""

    sequence: int
    arrays: memoryview
    text: bytes


class Slot:
    """The file at `path`, made when something is first written to it.

    While it is being written it has no header, and what it holds is believed only if it has the digest that the header
    tells. So a process that dies at any instant leaves a whole save or none, and so does whoever damages it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: Optional[int] = None
        self._map: Optional[mmap.mmap] = None

    @staticmethod
    def size_for(layout: Layout, text: bytes) -> int:
        """How many bytes the file needs for this."""
        return -(-(_BEGIN + layout.size + len(text)) // _GRAIN) * _GRAIN

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return len(self._map) if self._map is not None else 0

    def write(self, sequence: int, layout: Layout, text: bytes) -> None:
        """Replace what is there; raises OSError, with nothing in it, if the memory is full."""
        block = memoryview(self._room(self.size_for(layout, text)))
        block[:_BEGIN] = bytes(_BEGIN)
        end = _BEGIN + layout.size
        layout.copy_into(block[_BEGIN:end])
        block[end : end + len(text)] = text
        header = _HEADER.pack(_MAGIC, sequence, layout.size, len(text), b"")
        seal = _digest(header, block[_BEGIN : end + len(text)])
        block[: _HEADER.size] = _HEADER.pack(_MAGIC, sequence, layout.size, len(text), seal)
        assert self._fd is not None
        os.utime(self._fd)  # Writing through a map does not tell the file's age.

    def read(self) -> Optional[Content]:
        """What is there, if that is whole and this user's; its arrays are valid until the next write."""
        try:
            block = memoryview(self._opened())
        except OSError:
            return None
        if len(block) < _BEGIN:
            return None
        magic, sequence, arrays, text, seal = _HEADER.unpack(block[: _HEADER.size])
        end = _BEGIN + arrays + text
        if magic != _MAGIC or end > len(block):
            return None
        header = _HEADER.pack(magic, sequence, arrays, text, b"")
        if _digest(header, block[_BEGIN:end]) != seal:
            return None
        return Content(sequence, block[_BEGIN : _BEGIN + arrays], bytes(block[_BEGIN + arrays : end]))

    def close(self) -> None:
        """Let go of the file; it stays as it is."""
        self._map = None  # Dropped, not closed: a view of it may still be in use.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> mmap.mmap:
        if self._map is None:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            found = os.fstat(self._fd)
            is_own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
            if not is_own or found.st_nlink != 1 or not found.st_size:
                self.close()
                raise OSError("it is no file of this user alone")
            self._map = map_memory(self._fd, found.st_size)
        return self._map

    def _room(self, size: int) -> mmap.mmap:
        """The file's memory, of at least so many bytes."""
        if self._fd is not None and not is_at(self._fd, self._path):
            self.close()
        if self._fd is None:
            self._path.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        if self._map is None or len(self._map) < size:
            # Claimed, for to touch a page that the memory has no room for would end the process.
            os.posix_fallocate(self._fd, 0, size)
            self._map = map_memory(self._fd, size, populate=True)
        return self._map


def _digest(header: bytes, content: memoryview) -> bytes:
    hasher = xxhash.xxh3_128(header)
    hasher.update(content)
    return hasher.digest()
