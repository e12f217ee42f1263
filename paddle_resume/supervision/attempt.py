"""One life of the supervised command: its processes, what it says on stderr, and how it is ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

import psutil

from paddle_resume.environment import environment_as_given
from paddle_resume.errors import ConfigError
from paddle_resume.supervision.heartbeat import FOLDER_VARIABLE

_LOOK_SECONDS = 0.1
_LINES_KEPT = 20
_LONGEST_LINE = 4096
# Linux's call that has the kernel send a signal when the parent dies; other systems do without.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)
_SET_PARENT_DEATH_SIGNAL = 1


class Attempt:
    """The command, started in a session of its own, so that a Ctrl-C of the terminal reaches it through us alone.

    Should this process be killed, the kernel sends the command SIGTERM, so that it saves and leaves.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command`; raises ConfigError if there is no such program."""
        self.folder = Path(tempfile.mkdtemp(prefix="paddle_resume_run_"))
        """Where its ranks leave their heartbeats; no other process has it in its environment."""
        self.began = time.monotonic()
        self._tail: deque[bytes] = deque(maxlen=_LINES_KEPT)
        self._line = b""
        try:
            self._process = subprocess.Popen(
                list(command),
                env={**environment_as_given(), FOLDER_VARIABLE: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # Safe: this process has no other threads.
            )
        except OSError as error:
            shutil.rmtree(self.folder)
            raise ConfigError(
                f"The command {command[0]!r} could not be started: {error.strerror}. After -- give the whole command "
                "line, such as: -- python tools/train.py -c configs/mnist.yaml"
            ) from None
        assert self._process.stderr is not None
        self._stderr = self._process.stderr.fileno()
        os.set_blocking(self._stderr, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stderr, selectors.EVENT_READ)

    @property
    def status(self) -> Optional[int]:
        """None while the command runs; then its exit code or, below 0, the signal that ended it."""
        return self._process.poll()

    @property
    def last_lines(self) -> list[str]:
        """The end of what the command wrote on stderr."""
        lines = [*self._tail, self._line] if self._line else list(self._tail)
        return [line.decode("utf-8", errors="replace").rstrip() for line in lines[-_LINES_KEPT:]]

    def look(self) -> Optional[int]:
        """Pass on what the command says for a moment; then its status."""
        self._pass_on(_LOOK_SECONDS)
        status = self.status
        if status is not None:
            self._pass_on(0)
        return status

    def send(self, signum: int) -> None:
        """Send a signal to the command and its process group."""
        # Paddle's launcher puts each rank into a group of its own, and passes the signal on to them itself.
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)

    def end(self, grace: float) -> None:
        """End every process of this attempt: SIGTERM, `grace` seconds to save and leave, then SIGKILL."""
        _signal_all(self._living(), signal.SIGTERM)
        self.wait_for(lambda: not self._living(), grace)
        _signal_all(self._living(), signal.SIGKILL)
        # One that waits for a broken disk cannot be killed; it keeps its lock, and the next attempt says so.
        self.wait_for(lambda: not self._living(), grace)

    def close(self) -> None:
        """Forget its stderr and its heartbeats."""
        self._selector.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Pass on what the command says until `condition` holds; False if it does not within `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self._pass_on(_LOOK_SECONDS)
        return True

    def _living(self) -> list[psutil.Process]:
        """Every process of this attempt, also those that left its group or lost their parent."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                is_command = process.pid == self._process.pid and self.status is None
                if is_command or process.environ().get(FOLDER_VARIABLE) == str(self.folder):
                    found.append(process)
        return found

    def _pass_on(self, seconds: float) -> None:
        """Copy stderr to ours, waiting at most `seconds` for something to come."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return
        if not self._selector.select(seconds):
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                chunk = os.read(self._stderr, 1 << 16)
                if not chunk:
                    self._selector.unregister(self._stderr)
                    return
                *lines, rest = (self._line + chunk).split(b"\n")
                self._tail.extend(lines)
                self._line = rest[-_LONGEST_LINE:]
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()


def _die_with_parent() -> None:
    if _prctl is not None:
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _signal_all(processes: Sequence[psutil.Process], signum: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signum)
            if signum == signal.SIGTERM:
                process.send_signal(signal.SIGCONT)  # One that is stopped could not answer.
