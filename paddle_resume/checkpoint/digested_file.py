"""A file of a checkpoint on its way to disk: pieces to write, each digested as it goes by."""

from __future__ import annotations

from collections.abc import Iterator

import xxhash

from paddle_resume.checkpoint.record import FileEntry, TensorEntry
from paddle_resume.storage.framing import FramedFile, digest

# Small enough that what was just digested is still in the cache when it is written; large enough for the disk.
_PIECE = 1 << 21
_SMALL = 1 << 16


class SealedFile:
    """The bytes of a framed file, and the record's entry of them."""

    def __init__(self, framed: FramedFile) -> None:
        self.size = framed.size
        self._framed = framed
        self._entry: FileEntry | None = None

    def pieces(self) -> Iterator[memoryview]:
        """The file's bytes in order; the entry is known once they have all been asked for."""
        framing = xxhash.xxh3_128()
        digests = [digest(b"")] * len(self._framed.tensors())
        small = bytearray()
        for number, part in self._framed.parts():
            hasher = framing if number is None else xxhash.xxh3_128()
            if part.nbytes < _SMALL:
                hasher.update(part)
                small += part
            elif small:
                yield memoryview(small)
                small = bytearray()
            if len(small) >= _PIECE:
                yield memoryview(small)
                small = bytearray()
            for start in range(0, part.nbytes, _PIECE) if part.nbytes >= _SMALL else ():
                hasher.update(part[start : start + _PIECE])
                yield part[start : start + _PIECE]
            if number is not None:
                digests[number] = hasher.hexdigest()
        if small:
            yield memoryview(small)
        tensors = [TensorEntry(**t, digest=d) for t, d in zip(self._framed.tensors(), digests)]
        self._entry = FileEntry(size=self.size, framing=framing.hexdigest(), tensors=tensors)

    def entry(self) -> FileEntry:
        """The record's entry of the file."""
        if self._entry is None:
            for _ in self.pieces():
                pass
        assert self._entry is not None
        return self._entry
