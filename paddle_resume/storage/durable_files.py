"""Durable files: write under a temporary name, make the bytes safe, then publish by rename."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import xxhash

from paddle_resume.errors import SaveError
from paddle_resume.storage.regular_files import open_regular

# Linux's call to begin writing back without waiting; Python has no name for it, and other systems do without.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_START_WRITING = 2


class FileSystem:
    """Every system call that a save makes, one method each, so that a proof can put a failing disk in its place."""

    def require_space(self, folder: Path, size: int) -> None:
        """Raise ENOSPC if `size` bytes are more than what is free, before anything is written."""
        space = os.statvfs(folder)
        # Some network file systems do not tell how large they are.
        if space.f_blocks and space.f_bavail * space.f_frsize < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path) -> int:
        return create_new(path)

    def reserve(self, fd: int, size: int) -> None:
        """Claim `size` bytes, so that a full disk is known before anything is written."""
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data)

    def begin_flush(self, fd: int, offset: int, size: int) -> None:
        """Let the disk begin with these bytes, so that the fsync at the end has less to wait for."""
        if _sync_file_range is not None:
            _sync_file_range(fd, offset, size, _START_WRITING)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def fsync_file(self, path: Path) -> None:
        """Make the bytes durable that another process has written to `path`."""
        _fsync(path, os.O_RDONLY | os.O_CLOEXEC)

    def fsync_folder(self, folder: Path) -> None:
        """Make names in `folder` durable: a rename survives a power cut only after this."""
        _fsync(folder, os.O_RDONLY | os.O_DIRECTORY)


def create_new(path: Path) -> int:
    """A new file at `path`, open for writing, whatever lay there: a leftover, or a link to what is not ours to write.

    That it is new makes names that can be foreseen safe. Its mode is what the umask leaves. Raises OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:
        path.unlink()  # A link goes, not what it leads to.
        return os.open(path, flags, 0o666)


def open_in_place(path: Path, flags: int) -> int:
    """The file at `path`, made where it is missing, to be written where it lies; raises OSError if it is a link."""
    fd = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return fd


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one that lies at `path`."""
    try:
        here, there = os.fstat(fd), path.lstat()
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _fsync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


DISK = FileSystem()
# One write call never takes much more than this: larger ones are cut short by the kernel at 2 GiB anyway.
_WRITE_LIMIT = 1 << 26
_READ_PIECE = 1 << 20


def temporary(path: Path) -> Path:
    """The hidden sibling under which `path` is written; the same each time, so leftovers are recognised."""
    return path.with_name(f".{path.name}.tmp")


def make_folder(folder: Path, disk: FileSystem = DISK) -> None:
    """Make the folder and its parents where they are missing, so that a power cut cannot take them away again."""
    if not folder.is_dir():
        make_folder(folder.parent, disk)
        folder.mkdir(exist_ok=True)
        disk.fsync_folder(folder.parent)


def write_durably(path: Path, chunks: Iterable[memoryview], size: int, disk: FileSystem = DISK) -> None:
    """Write `chunks` to the temporary sibling of `path` and fsync it; `path` itself is not touched.

    Raises OSError. The temporary is removed then: a failed fsync is never retried on the same file, since
    the kernel may have dropped the pages that it could not write.
    """
    target = temporary(path)
    fd = disk.create(target)
    try:
        try:
            disk.reserve(fd, size)
            offset = 0
            for chunk in chunks:
                _write_all(fd, chunk.cast("B"), disk)
                disk.begin_flush(fd, offset, chunk.nbytes)
                offset += chunk.nbytes
            disk.fsync(fd)
        finally:
            disk.close(fd)
    except OSError:
        disk.unlink(target)
        raise


def size_and_digest(path: Path) -> tuple[int, str]:
    """How many bytes the file has, and their xxh3_128 in hex; raises OSError."""
    hasher, size = xxhash.xxh3_128(), 0
    with open_regular(path) as file:
        while piece := file.read(_READ_PIECE):
            hasher.update(piece)
            size += len(piece)
    return size, hasher.hexdigest()


def replace_file(
    path: Path, chunks: Iterable[memoryview], size: int, disk: FileSystem = DISK, key: str = "run.save_dir"
) -> None:
    """Write one file so that at every instant its name holds the old or the new content whole.

    Raises SaveError, which calls the place by `key`; see `explain`.
    """
    try:
        make_folder(path.parent, disk)
        write_durably(path, chunks, size, disk)
        disk.rename(temporary(path), path)
        disk.fsync_folder(path.parent)
    except OSError as error:
        raise explain(error, path, size, key) from error


def require_room(path: Path, size: int, key: str, disk: FileSystem = DISK) -> None:
    """Raise SaveError if no file of so many bytes could be written as `path`; what was tried is gone afterwards.

    Of a folder that is not there yet, the nearest one above it is asked.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    trial = folder / f".{path.name.replace('vdlrecords.', '')}.room"
    try:
        fd = disk.create(trial)
        try:
            disk.reserve(fd, size)
        finally:
            disk.close(fd)
            disk.unlink(trial)
    except OSError as error:
        raise explain(error, path, size, key) from error


def explain(error: OSError, path: Path, size: int, key: str = "run.save_dir") -> SaveError:
    """The SaveError for an OSError met while saving `size` bytes as `path`.

    `key` is what the config calls that folder, or the option that names the file, such as `--output`.
    """
    elsewhere = f"another file with {key}" if key.startswith("-") else _ELSEWHERE.get(key, f"another {key}")
    room = f"Make room, or choose {elsewhere}"
    advice = {
        errno.ENOSPC: f"the save needs {format_bytes(size)} and {_free(path)} is free. {room}",
        errno.EDQUOT: f"the save needs {format_bytes(size)}, more than your quota leaves. {room}",
        errno.EROFS: f"the file system is read-only. Choose {elsewhere}",
        errno.EACCES: f"you may not write there. Choose {elsewhere}",
        errno.ENOTDIR: f"a file lies where a folder should be. Choose {elsewhere}",
        errno.EEXIST: f"a file lies where a folder should be. Choose {elsewhere}",
    }.get(error.errno or 0, f"the disk or file system reported an error. Check it, or choose {elsewhere}")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return SaveError(
        f"Could not save {path}: {reason}; {advice}, then run the same command again. "
        "Every older checkpoint is as it was."
    )


_ELSEWHERE = {
    "run.save_dir": "another folder with -o run.save_dir=FOLDER",
    "run.log_dir": "another folder with -o run.log_dir=FOLDER",
    "run.model_path": "another file with -o run.model_path=FILE",
}


def format_bytes(size: int) -> str:
    """`size` bytes in the largest unit that keeps it above one."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"


def _write_all(fd: int, data: memoryview, disk: FileSystem) -> None:
    while data:
        written = disk.write(fd, data[:_WRITE_LIMIT])
        data = data[written:]


def _free(path: Path) -> str:
    folder = next((p for p in (path.parent, *path.parent.parents) if p.exists()), Path("/"))
    space = os.statvfs(folder)
    return format_bytes(space.f_bavail * space.f_frsize)
