"""A log as one append-only file of whole records, whose state is a cursor: how many of its bytes count."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError, SaveError
from paddle_resume.storage.durable_files import DISK, explain, is_at, open_in_place
from paddle_resume.translations import shown

FLUSH_SECONDS = 1.0  # readers see what was logged after at most this long, if more is logged


class Logger(ABC):
    """Writes scalars to one file, which is opened at the first write; for one thread of one process.

    Between flushes records wait in memory, so logging costs no system call; a process that dies loses only
    records beyond its last cursor, which the resumed run logs again. A subclass says what a record looks
    like. Its records must have the same length whenever they are written: a running VisualDL server keeps
    its offset into the file across a cut, and finds the next record there only if the rewritten tail is as
    long as the one that was cut. For the same reason the file is cut in place, never replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._pending = bytearray()
        self._next_flush = 0.0
        self._failed_fsync = False
        self.before_end: Optional[dict[str, Any]] = None
        """The cursor from before the run began to end, to which a run that is made longer cuts the log back."""
        self.is_cut_before_end = False
        """Whether a restore found the log cut back to there: the run was being made longer when it was killed."""
        self.tell: Callable[[str], None] = _tell
        """Called with what a person should know."""

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @abstractmethod
    def _encode(self, scalars: Mapping[str, float], step: int) -> bytes:
        """The records of one call of log_scalars()."""

    @abstractmethod
    def _whole(self, data: bytes) -> int:
        """The length in bytes of the whole records that `data` begins with."""

    def _header(self) -> bytes:
        return b""

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Log each tag's value at `step`; raises ConfigError for a tag that this kind of log cannot hold.

        A disk that is full does not raise here: the records are kept, and state_dict() reports it.
        """
        self._append(self._encode(scalars, step))

    def log_image(self, tag: str, image: np.ndarray, step: int) -> None:  # noqa: B027 - most logs have no pictures
        """Log a picture, uint8 [H, W, 3], at `step`; a log that has no pictures leaves it out."""

    def _append(self, records: bytes) -> None:
        """Take whole records in, and write them when it is time to."""
        if not self._pending and not self._size():
            self._pending += self._header()
        self._pending += records
        if time.monotonic() >= self._next_flush:
            with suppress(SaveError):
                self.flush()

    def flush(self) -> None:
        """Make what was logged visible to readers; raises SaveError, and keeps it, if that fails."""
        self._next_flush = time.monotonic() + FLUSH_SECONDS
        try:
            self._write_anew_if_gone()
            if not self._pending:
                return
            handle = self._open()
            _append_all_or_nothing(handle, bytes(self._pending))
        except OSError as error:
            raise explain(error, self._path, len(self._pending), key="run.log_dir") from error
        self._pending.clear()

    def close(self) -> None:
        """Flush and close the file, also if flushing raises SaveError; logging more opens it again."""
        try:
            self.flush()
        finally:
            self._close_handle()

    def prepare_save(self) -> None:
        """Make all that was logged durable on disk; raises SaveError if that fails."""
        self.flush()
        if self._handle is not None:
            self._make_durable(self._handle)

    def state_dict(self) -> dict[str, Any]:
        """The cursor: how many bytes there are, with those that wait to be written."""
        now = {"file": self._path.name, "offset": self._size() + len(self._pending)}
        return now if self.before_end is None else {**now, "before_end": self.before_end}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Cut the file back to the cursor and continue there.

        If differences() are accepted, the cut falls on the last whole record before the cursor. Raises
        CheckpointError if `state` is not a cursor.
        """
        self._pending.clear()
        self.before_end = state.get("before_end")
        self.is_cut_before_end = self.before_end is not None and bool(self._lacks(state))
        offset = _offset(self.before_end if self.before_end is not None and self.is_cut_before_end else state)
        self._write_anew_if_gone()
        if self._path.exists():
            self._cut(self._whole_before(offset))
            self._open()  # From here on its content is at hand, also if the file is deleted.

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        """What prevents this log from continuing exactly at the cursor `state`; [] if nothing does.

        Raises CheckpointError if `state` is not a cursor.
        """
        found = self._lacks(state)
        before = state.get("before_end")
        return [] if found and isinstance(before, dict) and not self._lacks(before) else found

    def _lacks(self, state: Mapping[str, Any]) -> list[Difference]:
        """Where the log does not reach the cursor `state`."""
        offset = _offset(state)
        found = []
        if state["file"] != self._path.name:
            found.append(Difference("name of the log", state["file"], self._path.name))
        if offset and not self._path.exists():
            found.append(Difference(f"log {self._path}", f"{offset} bytes", "no file"))
        elif offset > self._size():
            found.append(Difference(f"log {self._path}", f"{offset} bytes", f"{self._size()} bytes"))
        elif offset and (whole := self._whole_before(offset)) != offset:
            found.append(
                Difference(f"log {self._path}", f"a record ended at byte {offset}", f"the last one ends at {whole}")
            )
        return found

    def start_over(self) -> None:
        """Empty this run's log, for a fresh run in the same folder."""
        # Not unlinked: VisualDL's server opens every known file at each request, and fails for all runs if
        # one is gone.
        self._pending.clear()
        if self._path.exists():
            self._cut(0)

    def _cut(self, size: int) -> None:
        try:
            handle = open_in_place(self._path, os.O_RDWR)
            try:
                os.ftruncate(handle, size)
            finally:
                os.close(handle)
        except OSError as error:
            raise explain(error, self._path, size, key="run.log_dir") from error

    def _open(self) -> int:
        # A bare descriptor has no buffer that a forked data worker could flush a second time.
        if self._handle is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = open_in_place(self._path, os.O_RDWR | os.O_APPEND)
            DISK.fsync_folder(self._path.parent)
        return self._handle

    def _write_anew_if_gone(self) -> None:
        """Where the file was deleted or replaced, write all that it held to a new one, and say so."""
        if self._handle is None or is_at(self._handle, self._path):
            return
        gone = self._handle
        content = os.pread(gone, os.fstat(gone).st_size, 0)
        self._path.unlink(missing_ok=True)
        self._handle = None
        try:
            _append_all_or_nothing(self._open(), content)
        except BaseException:
            self._close_handle()
            self._handle = gone  # It still has everything: the next flush tries again.
            raise
        os.close(gone)
        self.tell(f"{self._path} was deleted or replaced while this run wrote to it; it was written anew, whole.")

    def _close_handle(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _make_durable(self, handle: int) -> None:
        # The kernel forgets the pages of a failed fsync, so a second one would succeed over lost records.
        try:
            if not self._failed_fsync:
                os.fsync(handle)
        except OSError:
            self._failed_fsync = True
        if self._failed_fsync:
            raise SaveError(
                f"{self._path}: the disk failed to keep the log. Check the disk, then run the same command "
                "again: it continues from the last checkpoint."
            )

    def _size(self) -> int:
        if self._handle is not None:
            return os.fstat(self._handle).st_size
        return self._path.stat().st_size if self._path.exists() else 0

    def _whole_before(self, offset: int) -> int:
        return self._whole(self._path.read_bytes()[:offset])


def _append_all_or_nothing(handle: int, data: bytes) -> None:
    """A disk that fills up in the middle would leave half a record, and readers could not go past it."""
    end = os.fstat(handle).st_size
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(handle, left) :]
    except BaseException:
        os.ftruncate(handle, end)
        raise


def _offset(state: Mapping[str, Any]) -> int:
    offset = state.get("offset")
    if not isinstance(state.get("file"), str) or type(offset) is not int or offset < 0:
        raise CheckpointError(
            f"Expected a log's cursor, a file name and an offset of 0 or more bytes, found {dict(state)!r}; "
            "the checkpoint's record was changed, resume from another one."
        )
    return offset


def _tell(text: str) -> None:
    print(shown(text), file=sys.stderr)
