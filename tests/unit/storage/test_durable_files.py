"""Durable files and the run's lock, on disks that fail at any call."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from paddle_resume.errors import CheckpointError, SaveError
from paddle_resume.storage.durable_files import (
    FileSystem,
    explain,
    format_bytes,
    replace_file,
    temporary,
    write_durably,
)
from paddle_resume.storage.lock import RunLock

CALLS = ("create", "reserve", "write", "fsync", "close", "rename", "unlink", "fsync_folder")


class FailingDisk(FileSystem):
    """Raises OSError(`code`) at the `nth` call (from 0) of `which`, or at the `nth` of all; notes every call."""

    def __init__(self, nth: int, which: tuple[str, ...] = CALLS, code: int = errno.EIO) -> None:
        self.calls: list[str] = []
        self._nth, self._which, self._code = nth, which, code

    def __getattribute__(self, name: str):
        if name in CALLS:
            self.calls.append(name)
            if name in self._which and sum(call in self._which for call in self.calls) == self._nth + 1:

                def fail(*args: object) -> None:
                    if name == "close":
                        FileSystem.close(self, *args)
                    raise OSError(self._code, os.strerror(self._code))

                return fail
        return super().__getattribute__(name)


class ShortWrites(FileSystem):
    """Writes 3 bytes a call at most."""

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data[:3])


def chunks(*parts: bytes) -> list[memoryview]:
    return [memoryview(part) for part in parts]


def test_the_bytes_go_to_the_temporary_sibling_and_the_file_itself_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.pdparams"
    path.write_bytes(b"old")
    write_durably(path, chunks(b"new ", b"content"), 11)
    assert path.read_bytes() == b"old"
    assert temporary(path) == tmp_path / ".a.pdparams.tmp"
    assert temporary(path).read_bytes() == b"new content"


def test_short_writes_are_continued(tmp_path: Path) -> None:
    data = bytes(range(200))
    write_durably(tmp_path / "a", chunks(data[:77], b"", data[77:]), len(data), ShortWrites())
    assert temporary(tmp_path / "a").read_bytes() == data


def test_space_is_reserved_before_the_first_byte_and_fsync_comes_after_the_last(tmp_path: Path) -> None:
    disk = FailingDisk(-1)
    write_durably(tmp_path / "a", chunks(b"x", b"y"), 2, disk)
    assert disk.calls == ["create", "reserve", "write", "write", "fsync", "close"]


@pytest.mark.parametrize("which", ["reserve", "write", "fsync", "close"])
def test_a_temporary_that_could_not_be_made_safe_is_removed(which: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    disk = FailingDisk(0, (which,))
    with pytest.raises(OSError, match="Input/output error"):
        write_durably(path, chunks(b"new"), 3, disk)
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"
    assert disk.calls.count("fsync") <= 1  # a failed fsync is never retried on the same file
    assert disk.calls.count("close") == 1


@pytest.mark.parametrize("nth", range(7))
def test_a_file_is_replaced_whole_or_not_at_all_whichever_call_fails(nth: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pdparams"
    path.write_bytes(b"old")
    disk = FailingDisk(nth, code=errno.ENOSPC)
    with pytest.raises(SaveError, match=r"Could not save .*model\.pdparams: No space left on device"):
        replace_file(path, chunks(b"new"), 3, disk)
    assert disk.calls[nth] == ["create", "reserve", "write", "fsync", "close", "rename", "fsync_folder"][nth]
    assert path.read_bytes() == (b"new" if disk.calls[nth] == "fsync_folder" else b"old")


def test_a_file_is_replaced_when_no_call_fails(tmp_path: Path) -> None:
    replace_file(tmp_path / "deep" / "er" / "a", chunks(b"new"), 3)
    assert (tmp_path / "deep" / "er" / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path / "deep" / "er") == ["a"]


def test_a_real_full_disk_is_known_before_anything_is_written(small_disk: Path) -> None:
    class NoWrite(FileSystem):
        def write(self, fd: int, data: memoryview) -> int:
            raise AssertionError("written although the space could not be reserved")

    with pytest.raises(SaveError, match=r"the save needs 4 MiB and .* is free\. Make room, or choose another folder"):
        replace_file(small_disk / "a", chunks(bytes(4 << 20)), 4 << 20, NoWrite())
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "No space left on device; the save needs 2 KiB and"),
        (errno.EDQUOT, "more than your quota leaves"),
        (errno.EROFS, "the file system is read-only. Choose another folder with -o run.save_dir=FOLDER"),
        (errno.EACCES, "you may not write there"),
        (errno.ENOTDIR, "a file lies where a folder should be"),
        (errno.EIO, "the disk or file system reported an error. Check it"),
    ],
)
def test_each_error_of_the_disk_comes_with_what_to_do(code: int, text: str, tmp_path: Path) -> None:
    error = explain(OSError(code, os.strerror(code)), tmp_path / "x" / "a.pdopt", 2048)
    assert text in str(error)
    assert f"Could not save {tmp_path / 'x' / 'a.pdopt'}" in str(error)
    assert str(error).endswith("Every older checkpoint is as it was.")


def test_sizes_are_shown_in_the_largest_unit_that_keeps_them_above_one() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 1 << 20, 3 << 30)] == ["0 B", "1023 B", "1 KiB", "1 MiB", "3 GiB"]


# ---------------------------------------------------------------- the lock


def held_by_another_process(folder: Path) -> subprocess.Popen:
    code = (
        "import sys; from pathlib import Path; from paddle_resume.storage.lock import RunLock\n"
        "RunLock(Path(sys.argv[1]), 'run').acquire(); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_pid_and_host_of_the_first(tmp_path: Path) -> None:
    process = held_by_another_process(tmp_path)
    try:
        with pytest.raises(CheckpointError) as caught:
            RunLock(tmp_path, "run").acquire()
        assert f"pid {process.pid} on host {socket.gethostname()}" in str(caught.value)
        other = RunLock(tmp_path, "other")
        other.acquire()  # another run in the same folder is free
        other.release()
    finally:
        process.kill()
        process.communicate()
    after = RunLock(tmp_path, "run")
    after.acquire()  # the kernel freed the lock of the killed process
    assert after.held
    after.release()


def test_a_file_system_without_locks_is_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(OSError, match="No locks available"):
        RunLock(tmp_path, "run").acquire()


def test_the_lock_is_taken_also_when_the_disk_has_no_room_for_its_note(small_disk: Path) -> None:
    lock = RunLock(small_disk, "run")
    lock.acquire()
    lock.release()
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError):
        while True:
            ballast.write(bytes(4096))
    (small_disk / ".run.lock").write_bytes(b"")
    with (small_disk / "ballast").open("ab", buffering=0) as ballast, pytest.raises(OSError):
        while True:
            ballast.write(bytes(4096))
    lock.acquire()
    assert lock.held
    lock.release()
