"""Where a user's Python calls in: an error that leaves there speaks of the arguments that this person wrote."""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar

from paddle_resume.errors import PaddleResumeError
from paddle_resume.own_frames import without_own_frames
from paddle_resume.user_terms import in_user_terms

_Called = TypeVar("_Called", bound=Callable[..., Any])


def python_face(function: _Called) -> _Called:
    """A function whose errors of this package name what the caller can set, and show the caller's own lines."""

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except PaddleResumeError as error:
            if error.args and isinstance(error.args[0], str):
                error.args = (in_user_terms(error.args[0]), *error.args[1:])
            without_own_frames(error)
            failed = error
        try:
            raise failed  # Not in there: before Python 3.11 that would bring back the frames.
        finally:
            del failed  # Else this frame and the error would keep each other, and what the arguments hold.

    return called  # type: ignore[return-value]
