"""Reads checkpoints beside a training that saves and removes: what is replaced meanwhile is read again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional, TypeVar

from paddle_resume.checkpoint.reader import sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.unreadable import Removed, Unreadable
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import temporary

Read = TypeVar("Read")
_Identity = Optional[tuple[int, int, int]]
_TRIES = 20
_PAUSE = 0.02
_RENAMES = 5


def settled(prefixes: Sequence[Path], look: Callable[[], Read]) -> Read:
    """What `look` gives of these checkpoints; where it fails and one of them was saved anew meanwhile, it looks again.

    Raises what `look` raises (OSError as Unreadable), and Removed if one that was there has been removed since.
    """
    renames = 0
    there = [prefix for prefix in prefixes if any(_records(prefix))]
    for attempt in range(_TRIES):
        before = [_records(prefix) for prefix in there]
        try:
            return look()
        except (Unreadable, CheckpointError, OSError) as error:
            after = [_records(prefix) for prefix in there]
            if not all(map(any, after)):
                raise Removed from error
            # Among the renames of a commit its record is the last, so it may not tell yet that the files are others.
            renames += after == before and any(waiting is not None for waiting, _ in after)
            if (after == before and not 0 < renames < _RENAMES) or attempt == _TRIES - 1:
                if isinstance(error, OSError):
                    raise Unreadable(f"it could not be read: {error.strerror or error}") from error
                raise
            time.sleep(_PAUSE)
    raise AssertionError("the last attempt returns or raises")


def _records(prefix: Path) -> tuple[_Identity, _Identity]:
    """What tells one commit under this name from the next; the record is what a save changes last.

    The one that waits for its rename is looked at first: a rename in between would hide it.
    """
    final = sibling(prefix, SUFFIX)
    return _identity(temporary(final)), _identity(final)


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
