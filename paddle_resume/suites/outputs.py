"""What a wrapped program writes as it goes: VisualDL curves, text logs, its own files; each follows the checkpoint."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError
from paddle_resume.loggers import VisualDLLogger
from paddle_resume.loggers.log_claim import LogClaim
from paddle_resume.storage.durable_files import explain, open_in_place
from paddle_resume.suites.program_files import ProgramFiles
from paddle_resume.suites.undo_log import UndoLog

_ELSEWHERE = "Have the training write to another folder, or wait until that one has ended."


class Outputs:
    """Owner of how far each log is: on a resume it is cut back to there.

    Args:
        home: the folder of the checkpoints, from which logs are named: what is moved together stays together.
        name: of the run; VisualDL's files are called by it.
        rank: of this process: each has curves of its own, and a text log of several is kept from other runs by rank 0.
        saved: the state to go on from, or None: then curves begin anew.
        keep: how many checkpoints may be gone on from.
    """

    def __init__(
        self,
        home: Path,
        name: str,
        rank: int,
        saved: Optional[Mapping[str, Any]],
        tell: Callable[[str], None],
        *,
        keep: int,
    ) -> None:
        self._home = home.resolve()
        log = UndoLog(self._home, self._home / f".{name}.files{f'.{rank}' if rank else ''}", keep, tell)
        self.files = ProgramFiles(
            self._home,
            log,
            None if saved is None else saved.get("files", {}),
            tell,
            others=[*(saved or {}).get("texts", ()), *(saved or {}).get("curves", ())],
        )
        self._name = name
        self._rank = rank
        self._goes_on = saved is not None
        self._tell = tell
        self._curves: dict[str, VisualDLLogger] = {}
        self._claims: list[LogClaim] = []
        self._texts: dict[str, logging.FileHandler] = {}
        self._uncut: dict[str, int] = {}
        """How long text logs are to be that the program has not opened again yet."""
        self._locks: dict[str, int] = {}
        self._writers: list[str] = []
        """The folders of VisualDL's writers, in the order in which they were made."""
        self._writers_before: list[str] = list((saved or {}).get("writers", ()))

    def folder_of_writer(self, wanted: str) -> str:
        """The folder for a writer that is to write to `wanted`: that of the same writer of the run that goes on.

        The command is the same, so that a folder of another name is one that is named by the time of the start.
        """
        number = len(self._writers)
        known = self._writers_before[number : number + 1]
        if known and os.path.relpath(wanted, self._home) not in self._writers_before:
            folder = os.path.normpath(self._home / known[0])
            self._tell(f"The curves go on in {folder}, where this run began them, and not in {wanted}.")
        else:
            folder = wanted
        self._writers.append(os.path.relpath(folder, self._home))
        return folder

    def curves(self, folder: str) -> VisualDLLogger:
        """The log of the curves in this folder; raises CheckpointError if another run has one of this name there."""
        key = os.path.relpath(folder, self._home)
        if key not in self._curves:
            # VisualDL shows the last file by name: that of rank 0.
            name = f"{self._name}-rank{self._rank}" if self._rank else self._name
            logger = VisualDLLogger(Path(folder).absolute(), name)
            logger.tell = self._tell
            claim = LogClaim(logger.path, _ELSEWHERE)
            claim.take(self._home / self._name)
            self._claims.append(claim)
            self._curves[key] = logger
            if not self._goes_on:
                logger.start_over()
        return self._curves[key]

    def text(self, handler: logging.FileHandler) -> None:
        """A handler of Python's `logging` is about to open its file.

        Raises CheckpointError if another wrapped run is writing to it.
        """
        if self._rank == 0:
            self._lock(Path(handler.baseFilename))
        name = os.path.relpath(handler.baseFilename, self._home)
        if self._goes_on and "w" in handler.mode:
            handler.mode = "a"  # What was logged before the checkpoint stays.
        if name in self._uncut:
            _cut(self._home / name, self._uncut.pop(name))
        self._texts[name] = handler

    def before_save(self) -> None:
        """Have all that was written so far outlive this process."""
        for curves in self._curves.values():
            curves.prepare_save()
        for handler in self._texts.values():
            handler.flush()

    def written_files(self) -> list[Path]:
        """The curves and the logs, as far as they were begun."""
        texts = [Path(handler.baseFilename) for handler in self._texts.values()]
        curves = [path for each in self._curves.values() for path in each.written_files()]
        return curves + texts + self.files.written_files()

    def state_dict(self) -> dict[str, Any]:
        return {
            "curves": {folder: curves.state_dict() for folder, curves in self._curves.items()},
            "texts": {**self._uncut, **{name: _size(self._home / name) for name in self._texts}},
            "files": self.files.state_dict(),
            "writers": self._writers,
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Cut the logs back; what the program has begun before it was put back is emptied."""
        known = state["curves"]
        for folder in {*known, *self._curves}:
            if folder in known:
                self._curves_of(folder).set_state_dict(known[folder])
            else:
                self._curves[folder].start_over()
        self._goes_on = False
        for name, size in state["texts"].items():
            if name not in self._texts:
                self._uncut[name] = size
                continue
            self._texts[name].flush()
            _cut(self._home / name, size)
        self.files.set_state_dict(state.get("files", {}))

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        """None: logs are not the run, and are begun anew where they are lost. Raises CheckpointError for no state."""
        if not all(isinstance(state.get(name), Mapping) for name in ("curves", "texts")):
            raise CheckpointError("The checkpoint's record of the program's logs is damaged; use another checkpoint.")
        for folder, cursor in state["curves"].items():
            self._curves_of(folder).lacks(cursor)
        return self.files.differences(state.get("files", {}))

    def _curves_of(self, name: str) -> VisualDLLogger:
        """Those of a folder as a record names it."""
        return self.curves(os.path.normpath(self._home / name))

    def close(self) -> None:
        """Write what waits to be written."""
        for curves in self._curves.values():
            curves.close()
        for claim in self._claims:
            claim.release()

    def _lock(self, path: Path) -> None:
        """Keep other wrapped runs from this text log for as long as the process lives."""
        if str(path) in self._locks:
            return
        with suppress(OSError):  # The program itself tells what it cannot open.
            # POSIX would free a lock on the log itself whenever the program closes it.
            handle = open_in_place(path.with_name(f".{path.name}.lock"), os.O_RDWR)
            self._locks[str(path)] = handle
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise CheckpointError(
                        f"The log {path} is being written by another wrapped run. {_ELSEWHERE}"
                    ) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cut(path: Path, size: int) -> None:
    try:
        if _size(path) > size:
            os.truncate(path, size)
    except OSError as error:
        raise explain(error, path, size) from error
