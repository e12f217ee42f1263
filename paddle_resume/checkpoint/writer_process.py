"""The writer process: saves go on behind training, one at a time, in a process that shares the snapshot's memory."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Callable

from paddle_resume.checkpoint.save_job import SaveJob, execute
from paddle_resume.checkpoint.snapshot import Block, map_memory
from paddle_resume.errors import PaddleResumeError, SaveError
from paddle_resume.storage.lock import writing

_NICENESS = 10
_PR_SET_NO_NEW_PRIVS = 38
_LOOK_SECONDS = 1.0
_GOODBYE = b"goodbye"
# It saves once more and then hangs up.
_MEANT_FOR_THE_TRAINER = (signal.SIGINT, signal.SIGTERM)
# How answers begin: the save is durable, it failed, or an old checkpoint could not be removed after it.
_DURABLE, _FAILED, _NOT_TIDY = b"D", b"F", b"N"


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
        # As the other process would get it, so that the files are the same.
        self._done = execute(SaveJob.from_lines(job.to_lines()), self.block.view())

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
        self._answers = select.poll()
        """Asked in every step, for which `Connection.poll` would take twenty times as long."""
        self._in_flight: Path | None = None
        self._owner = os.getpid()

    def start(self) -> None:
        """Spawn the process, if it is not there, so that the first save need not wait for it."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs, _signals_held_back():
            self._process = subprocess.Popen(
                writer_command(theirs.fileno(), self.block.fd),
                pass_fds=(theirs.fileno(), self.block.fd),
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._answers = select.poll()
        self._answers.register(self._connection.fileno(), select.POLLIN)
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
        try:
            self._connection.send_bytes(job.to_lines())
        except OSError:
            # Reported when the answer is collected, which a process that never got the job would not give.
            self._connection.close()

    def collect(self, wait: bool = False) -> Path | None:
        """The prefix of the save under way once it is durable; None if there is none, or it is not done yet.

        Raises SaveError if the save failed, also because the writer process died, or if an old checkpoint could
        not be removed after the save before.
        """
        try:
            while self._connection is not None and ((wait and self.busy) or self._has_answer()):
                prefix = self._take(self._connection.recv_bytes())
                if prefix is not None:
                    return prefix
        except (EOFError, OSError):
            prefix, self._in_flight = self._in_flight, None
            self._forget_process()
            if prefix is not None:
                raise SaveError(
                    f"Could not save {prefix}: the process that writes checkpoints was killed, perhaps for lack of "
                    "memory, or cannot be reached. Every older checkpoint is as it was."
                ) from None
        return None

    def close(self) -> None:
        """Let the process end, after the save under way; raises SaveError if that fails."""
        if os.getpid() != self._owner:
            return  # A forked child: the process and the block are its parent's.
        atexit.unregister(self.close)
        try:
            if self._connection is not None:
                # Said, not only hung up: forked data workers of the trainer may hold this end open as well.
                try:
                    self._connection.send_bytes(_GOODBYE)
                except OSError:
                    if self._process is not None:
                        self._process.kill()  # It has nothing under way that anybody could still hear of.
                with contextlib.suppress(EOFError, OSError):
                    while True:
                        self._take(self._connection.recv_bytes())
        finally:
            if self._connection is not None:
                self._connection.close()
            if self._process is not None:
                self._process.wait()
            self._process = self._connection = self._in_flight = None
            self.block.close()

    def _has_answer(self) -> bool:
        """Whether there is one to be read, or the process has ended."""
        assert self._connection is not None
        if self._connection.closed:
            raise EOFError  # The job could not be handed over.
        return bool(self._answers.poll(0))

    def _take(self, answer: bytes) -> Path | None:
        """What an answer of the process means: the prefix that is durable now, or None; raises SaveError."""
        kind, text = answer[:1], answer[1:].decode()
        if kind == _NOT_TIDY:
            raise SaveError(text)
        prefix, self._in_flight = self._in_flight, None
        if kind == _FAILED:
            raise SaveError(text)
        return prefix

    def _forget_process(self) -> None:
        assert self._process is not None and self._connection is not None
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._process = self._connection = None


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """A process that is started here has these signals held back until it ignores them: Ctrl-C reaches it too, and
    would end it while Python starts. To this process they come when it is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _MEANT_FOR_THE_TRAINER)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def writer_command(connection: int, block: int) -> list[str]:
    """The command line of the writer process."""
    # Not with -m: the package imports this module too, and Python would warn of it on the user's screen.
    code = f"from {__name__} import main; main()"
    return [sys.executable, "-c", code, str(connection), str(block), str(os.getpid())]


def serve(connection: Connection, block: int, trainer: int) -> None:
    """Carry out jobs until the trainer hangs up or dies."""
    for number in _MEANT_FOR_THE_TRAINER:
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    _give_up_privileges()
    window = _Window(block)
    with contextlib.suppress(EOFError, OSError):
        while True:
            # A trainer's death is no hang-up while a forked child of it still holds the other end.
            while not connection.poll(_LOOK_SECONDS):
                if os.getppid() != trainer:
                    return
            message = connection.recv_bytes()
            if message == _GOODBYE:
                return
            _carry_out(SaveJob.from_lines(message), window, trainer, connection.send_bytes)


def _give_up_privileges() -> None:
    """No program that this process might ever be made to start gets more rights than it has; Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class _Window:
    """The writer's view of the block; kept from save to save, since to map it takes as long as to digest it."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._map: mmap.mmap | None = None

    def view(self) -> memoryview:
        size = os.fstat(self._block).st_size
        if size and (self._map is None or len(self._map) != size):
            self._map = map_memory(self._block, size, populate=True, writable=False)
        return memoryview(self._map) if self._map is not None else memoryview(b"")


def _carry_out(job: SaveJob, window: _Window, trainer: int, answer: Callable[[bytes], None]) -> None:
    """Save, and answer what became of it: once when that is known, and again if tidying up afterwards fails."""
    failed = _FAILED

    def durable(prefix: Path) -> None:
        nonlocal failed
        answer(_DURABLE)
        failed = _NOT_TIDY  # Not before: if that answer fails, the trainer still waits for one.

    try:
        with writing(Path(job.folder), job.name):
            # A new trainer waits for this lock before it tidies up. If it was there first, the old one is dead.
            if os.getppid() != trainer:
                answer(_FAILED + b"the trainer died before the save began")
                return
            execute(job, window.view(), durable=durable)
    except PaddleResumeError as error:
        answer(failed + str(error).encode())
    except Exception as error:
        text = f"Could not save {job.prefix}: {type(error).__name__}: {error}. Every older checkpoint is as it was."
        answer(failed + text.encode())


def main() -> None:
    """Serve the trainer whose descriptors and pid are the arguments of this process."""
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
