"""The writer process: saves go on behind training, one at a time, in a process that shares the snapshot's memory."""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from paddle_resume.checkpoint.job import SaveJob, execute
from paddle_resume.checkpoint.snapshot import Block
from paddle_resume.errors import PaddleResumeError, SaveError
from paddle_resume.storage.lock import writing

_NICENESS = 10
_LOOK_SECONDS = 1.0
_GOODBYE = b"goodbye"


class InlineWriter:
    """Carries out save jobs in this process, before `submit` returns."""

    busy = False

    def __init__(self) -> None:
        self.block = Block()
        self._done: Path | None = None

    def start(self) -> None:
        """Nothing to start."""

    def submit(self, job: SaveJob) -> None:
        """Carry out the job; raises SaveError."""
        self._done = execute(job, self.block.view())

    def collect(self, wait: bool = False) -> Path | None:
        """The prefix of the save that was carried out since this was last asked for, or None."""
        prefix, self._done = self._done, None
        return prefix

    def close(self) -> None:
        """Give the memory back."""
        self.block.close()


class BackgroundWriter:
    """Carries out save jobs in a process of its own, so that they do not compete for the interpreter's lock.

    The process is spawned, not forked (a forked copy of a threaded process is not safe to use), never imports
    Paddle, and has a lower priority. If the trainer dies, it finishes the save that it has begun, and ends.
    """

    def __init__(self) -> None:
        self.block = Block()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._in_flight: Path | None = None
        self._owner = os.getpid()

    def start(self) -> None:
        """Spawn the process, if it is not there, so that the first save need not wait for it."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                writer_command(theirs.fileno(), self.block.fd),
                pass_fds=(theirs.fileno(), self.block.fd),
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        # A program that ends without close() must not lose the save that is on its way.
        atexit.register(self.close)

    @property
    def busy(self) -> bool:
        """Whether a save is under way; its snapshot must not be overwritten."""
        return self._in_flight is not None

    def submit(self, job: SaveJob) -> None:
        """Hand over a job whose bytes lie in the block; the one before must have been collected."""
        self.start()
        assert self._connection is not None and not self.busy
        self._in_flight = Path(job.folder) / job.prefix
        with contextlib.suppress(OSError):  # A dead process is reported when its answer is collected.
            self._connection.send_bytes(job.to_json())

    def collect(self, wait: bool = False) -> Path | None:
        """The prefix of the save under way once it is durable; None if there is none, or it is not done yet.

        Raises SaveError if the save failed, also because the writer process died.
        """
        if self._in_flight is None:
            return None
        assert self._connection is not None
        try:
            if not wait and not self._connection.poll():
                return None
            answer = self._connection.recv_bytes().decode()
        except (EOFError, OSError):
            prefix, self._in_flight = self._in_flight, None
            self._forget_process()
            raise SaveError(
                f"Could not save {prefix}: the process that writes checkpoints was killed, perhaps for lack of memory. "
                "Every older checkpoint is as it was."
            ) from None
        prefix, self._in_flight = self._in_flight, None
        if answer:
            raise SaveError(answer)
        return prefix

    def close(self) -> None:
        """Let the process end, after the save under way."""
        if os.getpid() != self._owner:
            return  # A forked child: the process and the block are its parent's.
        if self._connection is not None:
            # Said, not only hung up: forked data workers of the trainer may hold this end open as well.
            with contextlib.suppress(OSError):
                self._connection.send_bytes(_GOODBYE)
            self._connection.close()
        if self._process is not None:
            self._process.wait()
        self._process = self._connection = self._in_flight = None
        self.block.close()
        atexit.unregister(self.close)

    def _forget_process(self) -> None:
        assert self._process is not None and self._connection is not None
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._process = self._connection = None


def writer_command(connection: int, block: int) -> list[str]:
    """The command line of the writer process."""
    # Not with -m: the package imports this module too, and Python would warn of it on the user's screen.
    code = f"from {__name__} import main; main()"
    return [sys.executable, "-c", code, str(connection), str(block), str(os.getpid())]


def serve(connection: Connection, block: int, trainer: int) -> None:
    """Carry out jobs until the trainer hangs up or dies."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # Meant for the trainer, which saves once more and then hangs up.
    os.nice(_NICENESS)
    with contextlib.suppress(EOFError, OSError):
        while True:
            # A trainer's death is no hang-up while a forked child of it still holds the other end.
            while not connection.poll(_LOOK_SECONDS):
                if os.getppid() != trainer:
                    return
            message = connection.recv_bytes()
            if message == _GOODBYE:
                return
            answer = _carry_out(SaveJob.from_json(message), block, trainer)
            connection.send_bytes(answer.encode())


def _carry_out(job: SaveJob, block: int, trainer: int) -> str:
    """An empty text if the checkpoint is durable, else what went wrong."""
    try:
        with writing(Path(job.folder), job.name):
            # A new trainer waits for this lock before it tidies up. If it was there first, the old one is dead.
            if os.getppid() != trainer:
                return "the trainer died before the save began"
            execute(job, memoryview(mmap.mmap(block, job.size, prot=mmap.PROT_READ)))
        return ""
    except PaddleResumeError as error:
        return str(error)
    except Exception as error:
        return f"Could not save {job.prefix}: {type(error).__name__}: {error}. Every older checkpoint is as it was."


def main() -> None:
    """Serve the trainer whose descriptors and pid are the arguments of this process."""
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
