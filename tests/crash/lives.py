"""The processes that the proofs kill. Run as a program, it forks one process (a life) for each order it is given.

`python -m crash.lives serve FD` takes orders from a socket; `python -m crash.lives once ORDER` lives one life itself.
Under strace, every call of a kind is injected at the `AIM`th call of a process: a life that is to be struck
at the nth call of its save makes `AIM - n` calls of that kind that do nothing, and then saves. So one strace serves a
whole sweep, and a life costs a fork and not the start of an interpreter.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import crash.content as content
from paddle_resume.checkpoint import writer_process
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.save_job import execute
from paddle_resume.checkpoint.writer_process import BackgroundWriter, serve
from paddle_resume.errors import PaddleResumeError, SaveError
from paddle_resume.storage import durable_files
from paddle_resume.storage.durable_files import FileSystem

AIM = 100
_NOBODY = 9999  # A descriptor that no file has.
# Calls that do nothing but count. `fallocate` and `ftruncate` of no file fail before they touch anything.
IDLE: dict[str, Callable[[], Any]] = {
    "openat": lambda: os.open("", os.O_RDONLY),
    "mkdir": lambda: os.mkdir(""),
    "fallocate": lambda: os.posix_fallocate(_NOBODY, 0, 1),
    "write": lambda: os.write(_NOBODY, b""),
    "fsync": lambda: os.fsync(_NOBODY),
    "close": lambda: os.close(_NOBODY),
    "rename": lambda: os.rename("", ""),
    "unlink": lambda: os.unlink(""),
    "fcntl": lambda: fcntl.fcntl(_NOBODY, fcntl.F_GETFD),
    "ftruncate": lambda: os.ftruncate(_NOBODY, 0),
}


def idle(call: str | None, nth: int) -> None:
    """Count this process's calls of that kind up, so that the `nth` from now is the one that is struck."""
    for _ in range(AIM - nth if call else 0):
        with contextlib.suppress(OSError):
            IDLE[call]()


class InPlace(FileSystem):
    """Negative control: a writer that writes straight to the final name, as most programs do."""

    def create(self, path: Path) -> int:
        return super().create(self._final(path))

    def rename(self, source: Path, target: Path) -> None:
        if source.exists():
            super().rename(source, target)

    def unlink(self, path: Path) -> None:
        super().unlink(path)

    @staticmethod
    def _final(path: Path) -> Path:
        return path.with_name(path.name.removeprefix(".").removesuffix(".tmp"))


class Slow(FileSystem):
    """Takes its time before it publishes."""

    def rename(self, source: Path, target: Path) -> None:
        time.sleep(0.15)
        super().rename(source, target)


class Unsynced(FileSystem):
    """Negative control: a writer that leaves it to the kernel when its bytes reach the disk."""

    def fsync(self, fd: int) -> None:
        pass

    def fsync_folder(self, folder: Path) -> None:
        pass


DISKS = {"in place": InPlace, "slow": Slow, "unsynced": Unsynced}


class ForkedWriter(BackgroundWriter):
    """The background writer in a forked process instead of a spawned one: it serves in the same way and starts at once.

    These lives have one thread and no Paddle, so here a fork is safe.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        super().__init__()
        self._order = order

    def start(self) -> None:
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        trainer, pid = os.getpid(), os.fork()
        if pid == 0:
            ours.close()
            if self._order["who"] == "writer":
                idle(self._order.get("call"), self._order.get("nth", 0))
                self._order["who"] = "nobody"  # Once it is started anew it is left alone.
            serve(Connection(theirs.detach()), self.block.fd, trainer)
            os._exit(0)
        theirs.close()
        if self._order["who"] == "writer":
            self._order["who"] = "nobody"
        self._process = _Child(pid)  # type: ignore[assignment]
        self._connection = Connection(ours.detach())


class _Child:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        os.waitpid(self.pid, 0)


def checkpointer(order: dict[str, Any]) -> CheckpointEngine:
    """The checkpointer of a life; its writer is inline, forked, or spawned as in a training."""
    mode = order.get("mode", "inline")
    one = CheckpointEngine(order["folder"], content.NAME, keep=order.get("keep", 2), background=mode == "spawn")
    if mode == "fork":
        one._writer = ForkedWriter(order)
    return one


def save(order: dict[str, Any]) -> dict[str, Any]:
    """Save one checkpoint; if that fails, look at what is there, and save another one as the order says."""
    one = checkpointer(order)
    folder = Path(order["folder"])
    told: dict[str, Any] = {"saved": False}
    try:
        one.save(order["step"], content.owners(order["step"]), tag=order.get("tag"))
        if order.get("orphan"):  # Die while the writer saves.
            end = time.monotonic() + 20
            while not (order["orphan"] == "at once" or content.leftovers(folder) or time.monotonic() > end):
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)
        one.wait()
        told["saved"] = True
    except SaveError as error:
        if order.get("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        told["error"] = str(error)
        if not order.get("blind"):
            told.update(leftovers=content.leftovers(folder), loadable=content.loadable(folder))
    if order.get("again") and "error" in told:
        one.save(8, content.owners(8))
        one.wait()
    try:
        one.close()
    except SaveError as error:  # The save is durable, and an older checkpoint could not be removed after it.
        told["error"] = str(error)
    return told


def restore(order: dict[str, Any]) -> dict[str, Any]:
    """Restore as `--resume` says, and compare every bit."""
    one = checkpointer(order)
    mine = content.owners()
    found = one.restore(mine, order.get("resume", "auto"))
    one.close()
    if found is None:
        return {"step": None, "passed_over": []}
    content.require_state_of(found.step, mine)
    return {"step": found.step, "passed_over": found.passed_over}


def check(order: dict[str, Any]) -> dict[str, Any]:
    """Restore, look for leftovers, save once more, and restore that: what a user does after a crash."""
    folder = Path(order["folder"])
    told = restore(order)
    told["leftovers"] = content.leftovers(folder)
    told["loadable"] = content.loadable(folder)
    one = checkpointer(order)
    one.save(9, content.owners(9))
    one.close()
    assert restore(order)["step"] == 9, "what was saved after the crash is not the newest"
    assert not content.leftovers(folder)
    told["orphans"] = content.orphans(folder)
    return told


def live(order: dict[str, Any]) -> dict[str, Any]:
    """One life; what it tells, or the error that a user would see."""
    if order.get("disk"):
        writer_process.execute = functools.partial(execute, disk=DISKS[order["disk"]]())
    if order["who"] in ("inline", "trainer"):
        idle(order.get("call"), order.get("nth", 0))
    try:
        return {"save": save, "restore": restore, "check": check}[order["act"]](order)
    except PaddleResumeError as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    except Exception as error:
        return {"crash": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serve orders until the proof hangs up."""
    for owner in content.owners().values():  # Imports what NumPy imports when it is first used.
        owner.state_dict()
    durable_files._WRITE_LIMIT = 4096  # More than one write a file, so that there is something between two of them.
    if sys.argv[1] == "once":
        print(json.dumps(live({"who": "nobody", **json.loads(sys.argv[2])})))
        return
    connection = socket.socket(fileno=int(sys.argv[2]))
    connection.send(content.line(pid=os.getpid()))
    while order := connection.recv(1 << 16):
        pid = os.fork()
        if pid == 0:
            # Sent, not written: `write` is one of the calls that are struck.
            connection.send(content.line(**live(json.loads(order))))
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        connection.send(content.line(pid=pid, status=status))


if __name__ == "__main__":
    main()
