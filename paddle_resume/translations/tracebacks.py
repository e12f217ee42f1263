"""The errors of this package in the person's language, where Python or a notebook prints what nobody caught."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Optional

from paddle_resume.errors import PaddleResumeError
from paddle_resume.translations.shown import shown

_done = False


def translate_tracebacks() -> None:
    """From here on; a second call does nothing more. What a program catches keeps its English text."""
    global _done
    if _done:
        return
    _done = True
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> Any:
        _translate(error)
        return before(kind, error, trace)

    sys.excepthook = hook
    notebook = sys.modules.get("IPython")
    shell = notebook.get_ipython() if notebook is not None else None
    if shell is not None:
        # IPython prints errors itself, and knows only this way to have a say in it.
        def show(shell: Any, kind: Any, error: BaseException, trace: Any, tb_offset: Any = None) -> None:
            _translate(error)
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

        shell.set_custom_exc((PaddleResumeError,), show)


def _translate(error: Optional[BaseException]) -> None:
    """The error and those that it came of, as they are about to be printed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, PaddleResumeError) and error.args:
            error.args = (shown(error.args[0]), *error.args[1:])
        error = error.__cause__ or error.__context__
