"""One trainer at a time owns a run, and one writer its files: the locks that keep others out, and name who is in."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from paddle_resume.errors import CheckpointError
from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.durable_files import is_at, make_folder, open_in_place

# Bytes of the lock file. A writer can outlive its trainer by the save that it has begun.
_TRAINER, _WRITER = 0, 1
_WRITER_PATIENCE_SECONDS = 300.0


class RunLock:
    """An advisory lock on a run; the kernel frees it when its process ends, however it ends."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f".{name}.lock"
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""
        return self._fd is not None

    def acquire(self) -> None:
        """Take the lock; raises CheckpointError naming pid and host of the process that holds it.

        Raises OSError if the folder cannot be written, or its file system has no locks.
        """
        if self._fd is not None:
            return
        make_folder(self._path.parent)
        self._fd = fd = self._locked()
        self._wait_for_writer(fd)
        # The name only informs: a disk that is full need not keep a run from continuing.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.write(fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())

    def renew(self) -> None:
        """Take the lock again where its file was removed or replaced meanwhile, since it keeps nobody out any more.

        Raises as `acquire` does, also if another process was quicker.
        """
        if self._fd is not None and not is_at(self._fd, self._path):
            self.release()
            self.acquire()

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would race with the next holder."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):  # Nothing that matters was written by it.
                os.close(fd)

    def _locked(self) -> int:
        """The lock file, open and locked, and still the one that others find."""
        while True:
            fd = open_in_place(self._path, os.O_RDWR)
            self._lock(fd)
            if is_at(fd, self._path):
                return fd
            os.close(fd)

    def _lock(self, fd: int) -> None:
        try:
            # A POSIX record lock, not flock: forked data workers that outlive a killed trainer must not hold it,
            # and a second trainer in the same notebook may.
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _TRAINER)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                os.close(fd)
                raise
            holder = self._holder(fd)
            os.close(fd)
            raise CheckpointError(
                f"Another process already writes this run in {self._path.parent}: {holder}. Two would overwrite "
                "each other's checkpoints; wait for it, stop it, or give this run another run.name or "
                "run.save_dir."
            ) from None

    def _wait_for_writer(self, fd: int) -> None:
        """Let the writer of a dead trainer finish the save that it has begun."""
        end = time.monotonic() + _WRITER_PATIENCE_SECONDS
        while not _try_lock(fd, _WRITER):
            if time.monotonic() > end:
                self.release()
                raise CheckpointError(
                    f"A process that writes a checkpoint of this run in {self._path.parent} has not ended in "
                    f"{_WRITER_PATIENCE_SECONDS:.0f} s, although its trainer has. Look for "
                    "`paddle_resume.checkpoint` in the list of processes, end it, and run the same command again."
                )
            time.sleep(0.01)
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, _WRITER)

    @staticmethod
    def _holder(fd: int) -> str:
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            who = parse_json(os.pread(fd, 4096, 0))
            return f"pid {who['pid']} on host {who['host']}"
        return "an unknown process"


@contextlib.contextmanager
def writing(folder: Path, name: str) -> Iterator[None]:
    """Hold the writer's lock of a run, for the duration of one save in a process of its own."""
    fd = open_in_place(folder / f".{name}.lock", os.O_RDWR)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, _WRITER)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


def _try_lock(fd: int, part: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, part)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True
