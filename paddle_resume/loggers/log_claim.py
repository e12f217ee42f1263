"""Which run a log belongs to, so that no other run that was given the same folder and name cuts it."""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
from contextlib import suppress
from pathlib import Path

from paddle_resume.errors import CheckpointError
from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.durable_files import open_in_place

_ADVICE = "Give this run another folder or name for its logs (run.log_dir or run.name), or move the log away."
# The processes that hold claims, by device and inode, since symbolic links give a file several paths: this one, or the
# one that it was forked from, whose claims are not its own.
_held_here: dict[tuple[int, int], int] = {}
_kept_open: list[int] = []


class LogClaim:
    """A run's claim on the log at `path`: a hidden file beside it that names the run, locked while the run writes.

    The run is known by the prefix of its checkpoints, as seen from the log's folder: logs and checkpoints that were
    moved or copied together still belong together. A copy of a log, and one whose run has no checkpoints there, are
    free for another run.

    Args:
        path: the log.
        advice: what a person can do where it is another run's.
    """

    def __init__(self, path: Path, advice: str = _ADVICE) -> None:
        self._log = path
        self._advice = advice
        # VisualDL's server takes every file for a log that has this in its name.
        self._path = path.with_name(f".{path.name.replace('vdlrecords.', '')}.run")
        self._handle: int | None = None
        self._key: tuple[int, int] | None = None
        self._run = ""

    def take(self, run: Path, make: bool = True) -> None:
        """Claim the log for `run`; raises CheckpointError if it is another's.

        Without `make` nothing is claimed where there is no folder yet.
        """
        if self._handle is not None or not (make or self._path.parent.exists()):
            return
        folder = self._log.parent.resolve()
        mine = os.path.relpath(run.resolve(), folder)
        # Where nothing can be written, or nothing locked, the log itself tells.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = open_in_place(self._path, os.O_RDWR)
            theirs, log = self._read()
            other = (folder / theirs).resolve()
            self._lock(other)
            self._hold_here(other)
            is_copy = log is not None and log != self._identity()
            if theirs and theirs != mine and not is_copy and _has_checkpoints(other):
                self._let_go()
                raise self._taken(f"is that of the run whose checkpoints are {other}_*")
            self._run = mine
            if theirs != mine:
                self._write()

    def release(self) -> None:
        """Let others write the log; it stays this run's."""
        if self._handle is not None:
            with suppress(OSError):
                if self._read()[1] is None:  # The log was not there when it was claimed.
                    self._write()
            self._let_go()

    def _let_go(self) -> None:
        if self._handle is not None:
            if self._key is not None:
                _held_here.pop(self._key, None)
                self._key = None
            # Closing any descriptor of the file gives up this process's lock on it: nobody else here may have one.
            os.close(self._handle)
            self._handle = None

    def _hold_here(self, holder: Path) -> None:
        """The lock is one of processes: within this one, who holds a file is remembered."""
        assert self._handle is not None
        found = os.fstat(self._handle)
        key = (found.st_dev, found.st_ino)
        if _held_here.get(key) == os.getpid():
            _kept_open.append(self._handle)  # Closed, it would give up the lock of the one who holds it.
            self._handle = None
            raise self._taken(f"is being written by another trainer in this process, of the run {holder}_*")
        _held_here[key], self._key = os.getpid(), key

    def _identity(self) -> list[int] | None:
        """What tells the log from a copy of it; None where there is no log."""
        with suppress(OSError):
            found = self._log.stat()
            return [found.st_dev, found.st_ino]
        return None

    def _read(self) -> tuple[str, list[int] | None]:
        """The run of the claim, and the log that it had; an empty name for none."""
        assert self._handle is not None
        with suppress(ValueError, KeyError, TypeError):
            found = parse_json(os.pread(self._handle, 4096, 0))
            if type(found["run"]) is str and "\0" not in found["run"]:
                return found["run"], found["log"]
        return "", None

    def _write(self) -> None:
        assert self._handle is not None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps({"run": self._run, "log": self._identity()}).encode(), 0)

    def _lock(self, holder: Path) -> None:
        assert self._handle is not None
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                self._let_go()
                raise self._taken(f"is being written by another process, of the run {holder}_*") from None
            raise

    def _taken(self, why: str) -> CheckpointError:
        return CheckpointError(f"The log {self._log} {why}, and would be cut. {self._advice}")


def _has_checkpoints(run: Path) -> bool:
    return any(run.parent.glob(f"{glob.escape(run.name)}_*.pdstates"))
