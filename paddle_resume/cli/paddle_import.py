"""Paddle, imported late by the commands that need it, without its advice on what this package has set on purpose."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings

_GLOG = "GLOG_minloglevel"


def import_paddle(*, quietly: bool = False) -> None:
    """Import Paddle without its advice on settings that this package has chosen on purpose.

    `quietly` leaves out the log lines of Paddle's executor too, which only programs made static print.
    """
    quiets = quietly and _GLOG not in os.environ
    if quiets:
        os.environ[_GLOG] = "2"
    warnings.filterwarnings("ignore", message="No ccache found")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        import paddle  # noqa: F401
    if quiets:  # It has been read, and is not for programs that this one starts.
        del os.environ[_GLOG]
    for line in said.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print(line, file=sys.stderr)
