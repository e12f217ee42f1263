"""The part of `doctor` that looks at the disk: space, locks, and the speed of durable writes, measured by writing."""

from __future__ import annotations

import errno
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import DISK, format_bytes, temporary, write_durably
from paddle_resume.storage.lock import RunLock
from paddle_resume.toolbox.doctor_check import OK, PROBLEM, WARNING, Check

# Large enough for a steady figure, small enough for a second on a slow disk.
_SIZE = 64 << 20
_SMALL_WRITES = 7
_SLOW = 50 << 20
_LITTLE = 1 << 30
# A name that no run has: it holds what a run's name may not.
_NAME = "doctor of paddle_resume"


def examine_folder(folder: Path) -> Iterator[Check]:
    """The checks of the folder, or of its nearest parent that is there.

    Writes a file of 64 MiB and removes it again.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    where = str(folder) if there == folder else f"{there} (where {folder} will be made)"
    space = psutil.disk_usage(str(there)).free
    text = f"{format_bytes(space)} free in {where}"
    if space < _LITTLE:
        yield Check("disk", WARNING, text, "Make room, or choose another run.save_dir.")
    else:
        yield Check("disk", OK, text)
    probe = there / f"{_NAME}.probe"
    try:
        yield _speed(probe)
        yield _locks(there)
    except OSError as error:
        what = f"{there}: {error.strerror or error}"
        choose = "Choose a folder that you may write to with -o run.save_dir=FOLDER."
        advice = "Make room." if error.errno in (errno.ENOSPC, errno.EDQUOT) else choose
        yield Check("writing", PROBLEM, what, advice)
    finally:
        for path in (probe, temporary(probe), there / f".{_NAME}.lock"):
            if path.exists():
                path.unlink()


def _speed(probe: Path) -> Check:
    piece = memoryview(os.urandom(1 << 20))  # Not zeros, which some file systems do not write at all.
    begin = time.perf_counter()
    write_durably(probe, [piece] * (_SIZE >> 20), _SIZE)
    large = time.perf_counter() - begin
    small = []
    for _ in range(_SMALL_WRITES):
        begin = time.perf_counter()
        write_durably(probe, [piece[:4096]], 4096)
        DISK.rename(temporary(probe), probe)
        DISK.fsync_folder(probe.parent)
        small.append(time.perf_counter() - begin)
    rate = _SIZE / large
    text = (
        f"{format_bytes(int(rate))}/s with fsync; a small file is durable after {statistics.median(small) * 1e3:.1f} ms"
    )
    if rate < _SLOW:
        advice = "Save more seldom (checkpoint.every_steps: auto), or on a faster disk."
        return Check("writing", WARNING, text, advice)
    return Check("writing", OK, text)


def _locks(folder: Path) -> Check:
    lock = RunLock(folder, _NAME)
    try:
        lock.acquire()
    except CheckpointError:
        return Check("locks", WARNING, "another doctor holds the lock", "Wait for it to end.")
    finally:
        lock.release()
    return Check("locks", OK, "a second process would be kept out of a run")
