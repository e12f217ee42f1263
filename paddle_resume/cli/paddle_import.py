"""Paddle, imported late by the commands that need it, without its advice on what this package has set on purpose."""

from __future__ import annotations

import os
import warnings

from paddle_resume.thread_advice import without_thread_advice

_GLOG = "GLOG_minloglevel"


def import_paddle(*, quietly: bool = False) -> None:
    """Import Paddle without its advice on settings that this package has chosen on purpose.

    `quietly` leaves out the log lines of Paddle's executor too, which only programs made static print.
    """
    quiets = quietly and _GLOG not in os.environ
    if quiets:
        os.environ[_GLOG] = "2"
    warnings.filterwarnings("ignore", message="No ccache found")
    with without_thread_advice():
        import paddle  # noqa: F401
    if quiets:  # It has been read, and is not for programs that this one starts.
        del os.environ[_GLOG]
