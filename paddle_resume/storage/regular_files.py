"""Opens what somebody else may have put there: regular files only, without waiting, and none that is all but holes."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, Optional

_MOST_HOLES = 1 << 28
_HOLES_TO_DATA = 16
_PIECES = 10_000


def open_regular(path: Path, *, buffering: int = -1) -> BufferedReader:
    """The file at `path`, to be read. Raises OSError, whose `strerror` says what is wrong, also for a pipe or a device.

    Those are not even opened: it could take for ever, or do something.
    """
    _require_regular(path.stat(), path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(fd), path)  # It might have been replaced.
        require_filled(fd, path)
        file: Any = os.fdopen(fd, "rb", buffering)
        return file  # unbuffered, it is read in the same way
    except BaseException:
        os.close(fd)
        raise


def read_regular(path: Path, most: Optional[int] = None) -> bytes:
    """What the file at `path` holds; raises OSError as `open_regular` does, and if it has more than `most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than any such file ({most:,})", str(path))
        return file.read(size)


def require_filled(fd: int, path: Path) -> None:
    """Raise OSError for a file that is nearly nothing but holes: it costs its sender nothing, and its reader all of it.

    File systems that know of no holes tell of none.
    """
    size = os.fstat(fd).st_size
    if size <= _MOST_HOLES or not hasattr(os, "SEEK_DATA"):
        return
    data = end = 0
    try:
        for _ in range(_PIECES):
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            data += end - start
            if end >= size:
                break
        else:
            return
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: there is no more data.
            return
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    if size - data > _MOST_HOLES + _HOLES_TO_DATA * data:
        raise OSError(errno.EFBIG, f"of its {size:,} bytes all but {data:,} are a hole", str(path))


def _require_regular(found: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
