"""Which run a log belongs to, so that no other run that was given the same folder and name cuts it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from paddle_resume.errors import CheckpointError


class LogClaim:
    """A run's claim on the log at `path`: a hidden file beside it that names the run, locked while the run writes.

    The run is known by the prefix of its checkpoints. A log whose run has no checkpoints (it was never saved, moved,
    or removed) is free for another.
    """

    def __init__(self, path: Path) -> None:
        self._log = path
        # VisualDL's server takes every file for a log that has this in its name.
        self._path = path.with_name(f".{path.name.replace('vdlrecords.', '')}.run")
        self._handle: int | None = None

    def take(self, run: Path) -> None:
        """Claim the log for `run`; raises CheckpointError if it is another's."""
        mine = str(run.resolve())
        # Where nothing can be written, or nothing locked, the log itself tells.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            theirs = self._run()
            self._lock(theirs)
            if theirs != mine:
                if theirs and self._log.exists() and any(Path(theirs).parent.glob(f"{Path(theirs).name}_*.pdstates")):
                    self.release()
                    raise self._taken(f"is that of the run whose checkpoints are {theirs}_*")
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, json.dumps({"run": mine}).encode(), 0)

    def release(self) -> None:
        """Let others write the log; it stays this run's."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _run(self) -> str:
        assert self._handle is not None
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(os.pread(self._handle, 4096, 0))["run"])
        return ""

    def _lock(self, holder: str) -> None:
        assert self._handle is not None
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                self.release()
                raise self._taken(f"is being written by another process, of the run {holder}_*") from None
            raise

    def _taken(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"The log {self._log} {why}, and would be cut. Give this run another folder or name for its logs "
            "(run.log_dir or run.name), or move the log away."
        )
