"""Starts programs as forked children of a process that has imported Paddle, which saves each of them some seconds.

They are processes of their own, with a pid, and die by real signals. What a program does to its server is nothing: each
child is forked anew. Two things are as they were when the server imported Paddle, so a program for which they matter is
spawned: the environment (see `ForkServer.can_start`), and what the modules found that were imported with it.

Children of one server also share the seed of Python's hashes and the addresses of what was imported, on which the order
of a set depends; a run that depends on it must not look exact. Hence `ForkServers`: two of them, by turns.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, Optional

from paddle_resume.testing.fork_server import MESSAGE_BYTES
from paddle_resume.testing.life import NO_VARIABLES, Process, spawn

# Read by a program, by Paddle when it connects processes, by pytest, or (PYTHONPATH) made good in the child; and where
# there is a GPU nothing is forked. All others Python, Paddle or a library may read while they start.
_READ_LATE = re.compile(
    r"PADDLE_RESUME_\w+|PADDLE_(MASTER|TRAINER\w*|CURRENT_ENDPOINT|DISTRI_BACKEND)|"
    r"PYTEST_CURRENT_TEST|PYTHONPATH|CUDA_VISIBLE_DEVICES"
)
_ROOT = Path(__file__).resolve().parents[2]
# The package of this process, wherever that is, and not one in the working directory.
_SERVE = "import sys; sys.path[0] = sys.argv.pop(1); from paddle_resume.testing.fork_server import main; main()"
_SECONDS_TO_END = 10.0


class ForkedProcess:
    """A child of a fork server, with as much of `subprocess.Popen` as a life needs."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: Optional[int] = None
        self._server = server

    def poll(self) -> Optional[int]:
        """The exit code, or minus the signal, of a process that has ended; else None."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: Optional[float] = None) -> int:
        """The same once it has ended; raises subprocess.TimeoutExpired if it has not within `timeout` seconds."""
        if self.returncode is None:
            self.returncode = self._server.code_of(self.pid, timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A server process, started when it is made; it ends, and its children with it, when this is closed or dies."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._codes: dict[int, int] = {}
        self._ready: Optional[dict[str, Any]] = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(_ROOT), str(theirs.fileno()), str(os.getpid())],
                env=self._environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the client's.
            )

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether a program under this environment would find in a child what it finds in a process of its own."""
        return self._can_fork() and all(map(_READ_LATE.fullmatch, self._changes(environment)))

    def start(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: int, errors: int
    ) -> ForkedProcess:
        """Run `python ARGUMENTS` in `folder`; it writes to two descriptors, and finds no input."""
        order = {
            "arguments": [*map(str, arguments)],
            "folder": str(folder.resolve()),
            "environment": self._changes(environment),
        }
        with open(os.devnull) as nothing:  # noqa: PTH123 (a device, not a path of ours)
            self._socket.settimeout(None)
            socket.send_fds(self._socket, [json.dumps(order).encode()], [nothing.fileno(), output, errors])
        while "started" not in (answer := self._hear()):
            self._codes[answer["pid"]] = answer["code"]
        return ForkedProcess(self, answer["started"])

    def code_of(self, pid: int, timeout: Optional[float]) -> int:
        """How a child ended, once it has; raises subprocess.TimeoutExpired."""
        end = None if timeout is None else time.monotonic() + timeout
        while pid not in self._codes:
            self._socket.settimeout(None if end is None else max(0.0, end - time.monotonic()))
            try:
                answer = self._hear()
            except (socket.timeout, BlockingIOError):
                raise subprocess.TimeoutExpired(f"process {pid}", timeout or 0) from None
            self._codes[answer["pid"]] = answer["code"]
        return self._codes.pop(pid)

    def close(self) -> None:
        """End the server, and with it whatever still runs."""
        self._socket.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:  # Some other child of this process has the other end of its socket open.
            self._process.kill()
            self._process.wait()

    def _changes(self, environment: Mapping[str, str]) -> dict[str, Optional[str]]:
        """What is otherwise than when the server started, but for what its imports have set likewise."""
        assert self._ready is not None
        names = sorted({*environment, *self._environment})
        changed = {n: environment.get(n) for n in names if environment.get(n) != self._environment.get(n)}
        return {n: value for n, value in changed.items() if value != self._ready["environment"].get(n)}

    def _can_fork(self) -> bool:
        if self._ready is None:
            self._socket.settimeout(None)
            self._ready = {"can_fork": False}
            with suppress(ConnectionError):
                self._ready = self._hear()
        return self._ready["can_fork"]

    def _hear(self) -> dict[str, Any]:
        message = self._socket.recv(MESSAGE_BYTES)
        if not message:
            raise ConnectionError("the process from which lives are forked has ended")
        return json.loads(message)


class ForkServers:
    """Starts lives (see `life.Start`) from two servers by turns; spawns those that must not be forked.

    A context manager: the servers end with it, and whatever still runs.
    """

    def __init__(self, environment: Optional[Mapping[str, str]] = None) -> None:
        given = os.environ if environment is None else environment
        self._servers = [ForkServer(given), ForkServer(given)]
        self._turns: defaultdict[str, Iterator[int]] = defaultdict(count)
        for server in self._servers:
            server.can_start(given)  # Waits for it: what is timed later is a life and no import.

    def __call__(
        self, arguments: Sequence[str], folder: Path, output: IO[str], environment: Mapping[str, str] = NO_VARIABLES
    ) -> Process:
        variables = {**os.environ, **environment}
        server = self.next(variables)
        if server is None:
            return spawn(arguments, folder, output, environment)
        return server.start(arguments, folder, variables, output.fileno(), output.fileno())

    def next(self, environment: Mapping[str, str]) -> Optional[ForkServer]:
        """The server whose turn it is; None if a program under this environment must be spawned.

        The turns of each rank are its own: else each of two would always come from the same server.
        """
        turn = self._turns[environment.get("PADDLE_TRAINER_ID", "")]
        server = self._servers[next(turn) % len(self._servers)]
        return server if server.can_start(environment) else None

    def __enter__(self) -> ForkServers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the servers, and with them whatever still runs."""
        for server in self._servers:
            server.close()
