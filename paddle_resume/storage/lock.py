"""One process at a time writes a run: the lock that keeps a second one out and names the first."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from pathlib import Path

from paddle_resume.errors import CheckpointError


class RunLock:
    """An advisory lock on a run's files; the kernel frees it when its process ends, however it ends."""

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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # A POSIX record lock, not flock: forked data workers that outlive a killed trainer must not hold it,
            # and a second trainer in the same notebook may.
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        self._fd = fd
        # The name only informs: a disk that is full need not keep a run from continuing.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.write(fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would race with the next holder."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @staticmethod
    def _holder(fd: int) -> str:
        with contextlib.suppress(ValueError, KeyError):
            who = json.loads(os.pread(fd, 4096, 0))
            return f"pid {who['pid']} on host {who['host']}"
        return "an unknown process"
