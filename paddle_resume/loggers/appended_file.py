"""A file that only grows, but for cuts of its end in place; written anew, whole, if it is deleted meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Optional

from paddle_resume.errors import CheckpointError
from paddle_resume.loggers.lost_log import put_copy_in_place
from paddle_resume.storage.durable_files import DISK, explain, is_at, open_in_place
from paddle_resume.storage.regular_files import open_regular


class AppendedFile:
    """The file at `path`, which is opened at the first write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: Optional[int] = None

    @property
    def is_open(self) -> bool:
        """Whether its content is at hand, also if the file is deleted."""
        return self._handle is not None

    def open(self) -> int:
        """Open it, with its folder if need be; raises OSError."""
        # A bare descriptor has no buffer that a forked data worker could flush a second time.
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = open_in_place(self.path, os.O_RDWR | os.O_APPEND)
            DISK.fsync_folder(self.path.parent)
        return self._handle

    def close(self) -> None:
        """Close it; the next write opens it again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def append(self, data: bytes) -> None:
        """Write all of `data` or nothing, and raise OSError.

        A disk that fills up in the middle would leave half a record, and readers could not go past it.
        """
        handle = self.open()
        end = os.fstat(handle).st_size
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(handle, left) :]
        except BaseException:
            os.ftruncate(handle, end)
            raise

    def write_anew_if_gone(self) -> bool:
        """Where the file was deleted or replaced, write all that it held to a new one; returns whether it was."""
        if self._handle is None or is_at(self._handle, self.path):
            return False
        gone = self._handle
        content = os.pread(gone, os.fstat(gone).st_size, 0)
        self.path.unlink(missing_ok=True)
        self._handle = None
        try:
            self.append(content)
        except BaseException:
            self.close()
            self._handle = gone  # It still has everything: the next flush tries again.
            raise
        os.close(gone)
        return True

    def cut(self, size: int) -> bool:
        """Cut it, in place, to `size` bytes; returns whether a copy took its place, where it may not be written.

        Raises SaveError.
        """
        try:
            handle = open_in_place(self.path, os.O_RDWR)
            try:
                os.ftruncate(handle, size)
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM) or not put_copy_in_place(self.path, size):
                raise explain(error, self.path, size, key="run.log_dir") from error
            self.close()
            return True
        return False

    def size(self) -> int:
        """How many bytes it has; none if there is no file."""
        if self._handle is not None:
            return os.fstat(self._handle).st_size
        return self.path.stat().st_size if self.path.exists() else 0

    def beginning(self, size: int) -> bytes:
        """Its first `size` bytes; raises CheckpointError if it cannot be read."""
        try:
            with open_regular(self.path) as file:
                return bytes(file.read(size))
        except OSError as error:
            raise CheckpointError(
                f"The log {self.path} cannot be read: {error.strerror or error}. Move it away, or choose another "
                "run.log_dir."
            ) from error
