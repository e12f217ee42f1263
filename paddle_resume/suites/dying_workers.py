"""Data workers that end with the process that they work for, however that ends.

Paddle's own wait for ever for indices when it is killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from paddle_resume.data.sample_loader import die_with_parent

_starts_workers = False
_is_registered = False


@contextmanager
def workers_that_die_too() -> Iterator[None]:
    """Processes that are forked inside end when the thread that forked them does, on Linux."""
    global _starts_workers, _is_registered
    if not _is_registered:
        _is_registered = True
        os.register_at_fork(after_in_child=_after_fork)
    _starts_workers = True
    try:
        yield
    finally:
        _starts_workers = False


def _after_fork() -> None:
    if _starts_workers:
        die_with_parent()
