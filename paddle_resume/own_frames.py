"""Tracebacks without this package's own frames: what is left of them are the lines that a user wrote."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Optional

FULL = "PADDLE_RESUME_TRACEBACK"
_OWN = (str(Path(__file__).parent) + os.sep, contextlib.__file__)  # which stands between its frames
_STANDARD = str(Path(os.__file__).parent) + os.sep
_LIBRARIES = ("site-packages", "dist-packages")


def without_own_frames(error: BaseException) -> None:
    """Leave these frames out of the error and of what it came of, before it is printed to whom its text is written for.

    A cause without a line of the user's is left out: the text holds its sentence. `PADDLE_RESUME_TRACEBACK=full` in the
    environment keeps everything.
    """
    if os.environ.get(FULL) == "full":
        return
    seen: set[int] = set()
    each: Optional[BaseException] = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        each.__traceback__ = _of_others(each.__traceback__)
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is not None and not _has_own_code(cause.__traceback__):
            each.__cause__, cause = None, None
        each = cause


def is_of_user(filename: str) -> bool:
    """Whether the file is neither of this package nor of a library; a cell of a notebook is the user's too."""
    is_installed = any(part in _LIBRARIES for part in Path(filename).parts)
    return not (is_installed or filename.startswith((*_OWN, _STANDARD, "<frozen")))


def _of_others(trace: Optional[TracebackType]) -> Optional[TracebackType]:
    frames = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OWN):
            frames.append(trace)
        trace = trace.tb_next
    kept: Optional[TracebackType] = None
    for each in reversed(frames):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return kept


def _has_own_code(trace: Optional[TracebackType]) -> bool:
    while trace is not None:
        if is_of_user(trace.tb_frame.f_code.co_filename):
            return True
        trace = trace.tb_next
    return False
