"""The curves of Paddle's VisualDL callback, written to one file that follows the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import paddle

from paddle_resume.errors import StateError
from paddle_resume.loggers import VisualDLLogger

OF_A_LOG = "Give ExactResume another name, or the VisualDL callback another log_dir, or move the log away."


class Curves:
    """The logs of a fit: one for each folder that a VisualDL callback among `callbacks` writes to."""

    def __init__(self, callbacks: Sequence[Any], name: str) -> None:
        self._callbacks = [each for each in callbacks if isinstance(each, paddle.callbacks.VisualDL)]
        self._by_folder = {each.log_dir: VisualDLLogger(each.log_dir, name) for each in self._callbacks}

    @property
    def loggers(self) -> list[VisualDLLogger]:
        return list(self._by_folder.values())

    @contextmanager
    def written_here(self) -> Iterator[None]:
        """Inside, the callbacks write to these logs and to no file of their own."""
        for callback in self._callbacks:
            callback.writer = CurveWriter(self._by_folder[callback.log_dir])
        try:
            yield
        finally:
            for callback in self._callbacks:
                vars(callback).pop("writer", None)  # Paddle removes it itself when training ends.


class CurveWriter:
    """What Paddle's VisualDL callback takes for a `visualdl.LogWriter`."""

    def __init__(self, logger: VisualDLLogger) -> None:
        self.logger = logger

    def add_scalar(self, tag: str, value: Any, step: int, walltime: Any = None) -> None:
        """Log one value; the time is that of the call."""
        self.logger.log_scalars({tag: value}, step)

    def close(self) -> None:
        self.logger.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("add_"):
            raise StateError(
                f"With ExactResume, {name} cannot be used in a callback that derives from Paddle's VisualDL: only "
                "add_scalar can be cut back on a resume. Log the rest with a visualdl.LogWriter of your own."
            )
        raise AttributeError(name)
