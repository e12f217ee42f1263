"""What a wrapped program writes as it goes: VisualDL curves, text logs, whole files; each follows the checkpoint."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError
from paddle_resume.loggers import VisualDLLogger
from paddle_resume.storage.durable_files import explain


class Outputs:
    """Owner of how far each log is: on a resume it is cut back to there.

    Args:
        home: the folder of the checkpoints, from which logs are named: what is moved together stays together.
        name: of the run; VisualDL's files are called by it.
        goes_on: whether there is a checkpoint to go on from; else curves begin anew.
    """

    def __init__(self, home: Path, name: str, goes_on: bool, tell: Callable[[str], None]) -> None:
        self._home = home.resolve()
        self._name = name
        self._goes_on = goes_on
        self._tell = tell
        self._curves: dict[str, VisualDLLogger] = {}
        self._texts: dict[str, logging.FileHandler] = {}

    def curves(self, folder: str) -> VisualDLLogger:
        """The log of the curves in this folder."""
        key = os.path.relpath(folder, self._home)
        if key not in self._curves:
            logger = self._curves[key] = VisualDLLogger(Path(folder).absolute(), self._name)
            logger.tell = self._tell
            if not self._goes_on:
                logger.start_over()
        return self._curves[key]

    def text(self, handler: logging.FileHandler) -> None:
        """A handler of Python's `logging` is about to open its file."""
        if self._goes_on and "w" in handler.mode:
            handler.mode = "a"  # What was logged before the checkpoint stays.
        self._texts[os.path.relpath(handler.baseFilename, self._home)] = handler

    def before_save(self) -> None:
        """Have all that was written so far outlive this process."""
        for curves in self._curves.values():
            curves.prepare_save()
        for handler in self._texts.values():
            handler.flush()

    def state_dict(self) -> dict[str, Any]:
        return {
            "curves": {folder: curves.state_dict() for folder, curves in self._curves.items()},
            "texts": {name: _size(self._home / name) for name in self._texts},
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
            handler = self._texts.get(name)
            if handler is not None:
                handler.flush()
            _cut(self._home / name, size)

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        """None: logs are not the run, and are begun anew where they are lost. Raises CheckpointError for no state."""
        if not all(isinstance(state.get(name), Mapping) for name in ("curves", "texts")):
            raise CheckpointError("The checkpoint's record of the program's logs is damaged; use another checkpoint.")
        for folder, cursor in state["curves"].items():
            self._curves_of(folder).lacks(cursor)
        return []

    def _curves_of(self, name: str) -> VisualDLLogger:
        """Those of a folder as a record names it."""
        return self.curves(os.path.normpath(self._home / name))

    def close(self) -> None:
        """Write what waits to be written."""
        for curves in self._curves.values():
            curves.close()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cut(path: Path, size: int) -> None:
    try:
        if _size(path) > size:
            os.truncate(path, size)
    except OSError as error:
        raise explain(error, path, size) from error
