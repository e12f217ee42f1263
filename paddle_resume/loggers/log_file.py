"""A log as one append-only file of whole records, whose state is a cursor: how many of its bytes count."""

from __future__ import annotations

import base64
import errno
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
from paddle_resume.loggers.appended_file import AppendedFile
from paddle_resume.loggers.cursor import lacking, offset_of, require_whole, waiting_of
from paddle_resume.loggers.lost_log import set_aside
from paddle_resume.storage.durable_files import explain, require_room
from paddle_resume.translations import shown

_ROOM = 1 << 16  # bytes that a log has to have room for at the start
_MOST_WAITING = 1 << 20  # bytes that wait for room, in memory and in each checkpoint
FLUSH_SECONDS = 1.0  # readers see what was logged after at most this long, if more is logged


class Logger(ABC):
    """Writes scalars to one file, which is opened at the first write; for one thread of one process.

    Between flushes records wait in memory, so logging costs no system call; a process that dies loses only
    records beyond its last cursor, which the resumed run logs again. A subclass says what a record looks
    like. Its records must have the same length whenever they are written: a running VisualDL server keeps
    its offset into the file across a cut, and finds the next record there only if the rewritten tail is as
    long as the one that was cut. For the same reason the file is cut in place, never replaced.
    """

    may_be_absent = True
    """A run that was saved without logs may have some from here on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = AppendedFile(path)
        self._pending = bytearray()
        self._next_flush = 0.0
        self.before_end: Optional[dict[str, Any]] = None
        """The cursor from before the run began to end, to which a run that is made longer cuts the log back."""
        self.is_cut_before_end = False
        """Whether a restore found the log cut back to there: the run was being made longer when it was killed."""
        self.losses: list[str] = []
        """What was lost of the log, as the restores found it."""
        self._last: dict[str, list[Any]] = {}  # by tag, its last step and value
        self._anew: Optional[int] = None  # its size when it was begun anew
        self._waits = False  # whether what is pending could not be written
        self._told_to_wait = False
        self.without: Optional[dict[str, Any]] = None
        """The cursor from which on the run goes on without this log, since it cannot be written."""
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

        A disk that is full does not raise here: the records wait, see `prepare_save`.
        """
        self._append(self._encode(scalars, step))
        self._last.update({tag: [int(step), float(value)] for tag, value in scalars.items()})

    def log_image(self, tag: str, image: np.ndarray, step: int) -> None:  # noqa: B027 - most logs have no pictures
        """Log a picture, uint8 [H, W, 3], at `step`; a log that has no pictures leaves it out."""

    def _append(self, records: bytes) -> None:
        """Take whole records in, and write them when it is time to."""
        if self.without is not None:
            return
        if not self._pending and not self._file.size():
            self._pending += self._header()
        self._pending += records
        if time.monotonic() >= self._next_flush:
            with suppress(SaveError):
                self.flush()

    def flush(self) -> None:
        """Make what was logged visible to readers; raises SaveError, and keeps it, if that fails."""
        if self.without is not None:
            return
        self._next_flush = time.monotonic() + FLUSH_SECONDS
        try:
            self._write_anew_if_gone()
            if not self._pending:
                return
            self._file.append(bytes(self._pending))
        except OSError as error:
            raise explain(error, self._path, len(self._pending), key="run.log_dir") from error
        self._pending.clear()
        if self._waits:
            self._waits = self._told_to_wait = False
            self.tell(f"The log {self._path} can be written again, and is whole.")

    def close(self) -> None:
        """Flush and close the file, also if it cannot be written; logging more opens it again."""
        self.prepare_save()
        self._file.close()

    def prepare_save(self) -> None:
        """Hand all that was logged to the system, so that it outlives the process.

        What cannot be written waits, here and in the state that is saved, for as long as there is not too much of it:
        a log stops no run.
        """
        try:
            self.flush()
        except SaveError as error:
            self._wait(error)

    def _wait(self, error: SaveError) -> None:
        if len(self._pending) > _MOST_WAITING:
            self._go_without(error, self._cursor())
            return
        self._waits = True
        if not self._told_to_wait:  # A restore may be made twice.
            self._told_to_wait = True
            self.tell(
                f"The log {self._path} cannot be written: {_why(error)}. Training goes on, and nothing is lost: what "
                "comes now waits in memory and in the checkpoints, and is written once that can be."
            )

    def written_files(self) -> list[Path]:
        return [self._path] if self._file.is_open else []

    def state_dict(self) -> dict[str, Any]:
        """The cursor: how many bytes there are, with those that are about to be written; and each tag's last value.

        `waiting`, in Base64, are records that come behind it and could not be written.
        """
        now = self._cursor()
        if self._waits:
            now["waiting"] = base64.b64encode(self._pending).decode()
        elif self.without is None:
            now["offset"] += len(self._pending)
        if self._last:
            now["last"] = dict(self._last)
        return now if self.before_end is None else {**now, "before_end": self.before_end}

    def _cursor(self) -> dict[str, Any]:
        return dict(self.without or {"file": self._path.name, "offset": self._file.size()})

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Cut the file back to the cursor and continue there; raises CheckpointError if `state` is not a cursor.

        A log is not the run: where it is gone, is another's, cannot be written or does not reach to the cursor, it is
        made anew with the last values that `state` knows, or goes on after its last whole record; where even that
        cannot be, the run goes on without it. `losses` tells of it.
        """
        offset_of(state)
        require_whole(state, self._whole)
        self.without, self._waits = None, False
        self._pending.clear()
        self.before_end = state.get("before_end")
        self._last = dict(state.get("last", {}))
        try:
            self._go_on_from(state)
        except (SaveError, CheckpointError, OSError) as error:
            self._go_without(error, state)

    def _go_on_from(self, state: dict[str, Any]) -> None:
        lost = self.lacks(state)
        self.is_cut_before_end = bool(lost) and self.before_end is not None and not self.lacks(self.before_end)
        chosen = self.before_end if self.before_end is not None and self.is_cut_before_end else state
        offset = offset_of(chosen)
        self._write_anew_if_gone()
        if lost and not self.is_cut_before_end:
            self._begin_anew(state, lost)
            return
        if self._path.exists():
            self._cut(self._whole_before(offset))
            if state.get("without"):  # Where the curves go on, behind a gap.
                self._log_last()
            self._file.open()  # From here on its content is at hand, also if the file is deleted.
        if waiting := waiting_of(chosen):
            self._pending += waiting
            self._waits = True
            self.prepare_save()

    def go_on_without_if_unwritable(self) -> None:
        """After a restore: let the log be where it cannot be written, which ends no run that is under way."""
        try:
            self.require_writable()
        except SaveError as error:
            number = getattr(error.__cause__, "errno", None)
            forbidden = number in (errno.EACCES, errno.EPERM)
            if number in (errno.ENOSPC, errno.EDQUOT):
                self._wait(error)
            elif not (self._file.is_open and forbidden):  # A file that is open may be written where no other may be.
                self._go_without(error, self._cursor())

    def _go_without(self, error: Exception, state: Mapping[str, Any]) -> None:
        self._pending.clear()
        self._waits = False
        self._file.close()
        self.without = {"file": state["file"], "offset": state["offset"], "without": True}
        self._note_loss(
            f"The log {self._path} cannot be written: {_why(error)}. The run goes on without it: what comes now is in "
            "no log, until the same command is run where run.log_dir can be written."
        )

    def _write_anew_if_gone(self) -> None:
        if self._file.write_anew_if_gone():
            self.tell(f"{self._path} was deleted or replaced while this run wrote to it; it was written anew, whole.")

    def _begin_anew(self, state: dict[str, Any], lost: list[Difference]) -> None:
        """Go on without what was lost, and say so once."""
        if self._anew is not None and self._path.exists():
            self._cut(self._anew)  # It is told already: the same restore once more, or that of an end that is undone.
        else:
            is_ours = state["file"] == self._path.name and self._path.exists()
            kept = self._whole_before(state["offset"]) if is_ours else 0
            aside = None
            if kept == 0 and self._path.exists() and self._file.size():
                self._file.close()
                aside = set_aside(self._path)
            self._file.open()  # If that cannot be, nothing else is to be told.
            if kept:
                self._cut(kept)
                how = "it goes on after its last whole record"
            else:
                self._log_last()
                how = "it was begun anew, with the last values that the checkpoint knows"
            how += f"; what lay there is {aside.name} now" if aside is not None else ""
            self._note_loss(f"{'; '.join(map(str, lost))}: {how}. The run itself is as it was.")
            with suppress(SaveError):
                self.flush()
            self._anew = self._file.size()
        if self.before_end is not None:
            self.before_end = {**self._cursor(), "offset": self._file.size() + len(self._pending)}
        self._file.open()

    def _log_last(self) -> None:
        by_step: dict[int, dict[str, float]] = {}
        for tag, (step, value) in self._last.items():
            by_step.setdefault(step, {})[tag] = value
        for step, scalars in by_step.items():
            self._append(self._encode(scalars, step))

    def _note_loss(self, text: str) -> None:
        if text not in self.losses:  # A restore may be made twice.
            self.losses.append(text)
            self.tell(text)

    def lacks(self, state: Mapping[str, Any]) -> list[Difference]:
        """Where the log does not reach the cursor `state`; raises CheckpointError if it is none."""
        size = self._file.size() if self._path.exists() else None
        return lacking(state, self._path, size, self._whole_before)

    def require_writable(self) -> None:
        """Raise SaveError where the log could not be written, or has no room; leaves nothing behind."""
        require_room(self._path, _ROOM, key="run.log_dir")

    def start_over(self) -> None:
        """Empty this run's log, for a fresh run in the same folder."""
        # Not unlinked: VisualDL's server opens every known file at each request, and fails for all runs if
        # one is gone.
        self._pending.clear()
        self._waits = False
        self._last.clear()
        if self._path.exists():
            self._cut(0)

    def _cut(self, size: int) -> None:
        if self._file.cut(size):
            self._note_loss(f"log {self._path}: it may not be written, so a copy took its place. The run is as it was.")

    def _whole_before(self, offset: int) -> int:
        return self._whole(self._file.beginning(offset))


def _why(error: Exception) -> str:
    return str(getattr(error if isinstance(error, OSError) else error.__cause__, "strerror", None) or error)


def _tell(text: str) -> None:
    print(shown(text), file=sys.stderr)
