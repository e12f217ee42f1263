"""The snapshot: every file of a checkpoint as it will lie on disk, side by side in one reused block of memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddle_resume.checkpoint.record import FileEntry, TensorEntry
from paddle_resume.storage.framing import FramedFile, digest

_GRAIN = 1 << 21  # Grow in steps of 2 MiB, so that a state that changes a little needs no new mapping.


@dataclass(frozen=True)
class FileImage:
    """Where one file lies in the block, and where its tensors lie in the file."""

    start: int
    size: int
    tensors: list[dict[str, Any]]

    def entry(self, block: memoryview) -> FileEntry:
        """The record's entry of this file, digested from the block."""
        content = block[self.start : self.start + self.size]
        framing, position, tensors = bytearray(), 0, []
        for tensor in self.tensors:
            begin, end = tensor["offset"], tensor["offset"] + tensor["length"]
            framing += content[position:begin]
            tensors.append(TensorEntry(**tensor, digest=digest(content[begin:end])))
            position = end
        framing += content[position:]
        return FileEntry(size=self.size, framing=digest(framing), tensors=tensors)


class Block:
    """A block of memory that another process can map too; made once, and kept for every save.

    The first copy into fresh memory runs at a third of the speed, and fresh shared memory for each save would
    cost more than writing the file.
    """

    def __init__(self) -> None:
        self.fd = os.memfd_create("paddle_resume_snapshot", 0)
        self._map: mmap.mmap | None = None

    def take(self, files: Mapping[str, FramedFile]) -> dict[str, FileImage]:
        """Copy the files in, one after the other, and tell where each lies."""
        self._reserve(sum(framed.size for framed in files.values()))
        images, start = {}, 0
        for suffix, framed in files.items():
            images[suffix] = FileImage(start, framed.size, framed.tensors())
            self._copy(framed, start)
            start += framed.size
        return images

    def view(self) -> memoryview:
        """All of the block's bytes."""
        return memoryview(self._map) if self._map is not None else memoryview(b"")

    def close(self) -> None:
        """Give the memory back; the block can be used again, and is then made anew."""
        # Dropped, not closed: a view of it that still lives somewhere would make closing an error.
        self._map = None
        os.ftruncate(self.fd, 0)

    def __del__(self) -> None:
        os.close(self.fd)

    def _copy(self, framed: FramedFile, start: int) -> None:
        assert self._map is not None
        target = np.frombuffer(self._map, np.uint8)
        for chunk in framed.chunks():
            # NumPy copies without the interpreter lock, and at memory speed.
            np.copyto(target[start : start + chunk.nbytes], np.frombuffer(chunk, np.uint8))
            start += chunk.nbytes

    def _reserve(self, size: int) -> None:
        size = -(-max(size, 1) // _GRAIN) * _GRAIN
        if self._map is None or len(self._map) < size:
            os.ftruncate(self.fd, size)
            self._map = mmap.mmap(self.fd, size)
