"""The first meeting of a run's processes, before Paddle connects them: Paddle waits in C++, which nothing interrupts.

With the wrong address, a port that is taken or a process that never comes it aborts, or hangs for good. So rank 0
first waits here for a word from every rank, at its own endpoint of those that the launcher hands out, and says who
is missing.
"""

from __future__ import annotations

import errno
import os
import socket
import time

from paddle_resume.errors import ParallelError

_PAUSE = 0.05
_MASTER_SECONDS = 5.0
_HELLO = b"paddle_resume rank "


def meet(rank: int, size: int, seconds: float) -> None:
    """Wait until all processes are there; raises ParallelError if they are not within so many seconds."""
    endpoints = [each for each in (os.environ.get("PADDLE_TRAINER_ENDPOINTS") or "").split(",") if each]
    if len(endpoints) != size:
        return  # Started by something else than Paddle's launcher.
    host, _, port = endpoints[0].rpartition(":")
    until = time.monotonic() + seconds
    if rank == 0:
        _require_free_master()
        _welcome(int(port), size, until, seconds)
    else:
        _go_to(host, int(port), rank, until, seconds)


def _welcome(port: int, size: int, until: float, seconds: float) -> None:
    missing = set(range(1, size))
    lines = []
    with _listening(port, "PADDLE_CURRENT_ENDPOINT") as door:
        while missing:
            door.settimeout(max(_PAUSE, until - time.monotonic()))
            try:
                line, _ = door.accept()
                line.settimeout(max(_PAUSE, until - time.monotonic()))
                said = line.makefile("rb").readline(64)
            except OSError as error:
                raise ParallelError(_nobody(missing, size, seconds)) from error
            if said.startswith(_HELLO):  # Else some other program that tries ports.
                missing.discard(int(said[len(_HELLO) :]))
                lines.append(line)
        for line in lines:  # When all are here, and not before: nobody goes on alone.
            line.sendall(b"all are here\n")
            line.close()


def _go_to(host: str, port: int, rank: int, until: float, seconds: float) -> None:
    while True:
        left = until - time.monotonic()
        try:
            with socket.create_connection((host, port), timeout=max(_PAUSE, left)) as line:
                line.sendall(_HELLO + b"%d\n" % rank)
                if line.makefile("rb").readline(64):
                    break
                reason = "it ended"
        except OSError as error:
            reason = str(error)
        if left <= 0:
            raise ParallelError(
                f"rank 0 could not be reached at {host}:{port} within {seconds:g} s ({reason}). Look at its output, "
                "and whether every node was started with the same --nnodes and --master and can reach that address."
            )
        time.sleep(_PAUSE)
    _await_master(time.monotonic() + _MASTER_SECONDS)


def _await_master(until: float) -> None:
    """Let rank 0 be first at Paddle's own meeting, or let Paddle tell why it is not.

    Paddle 3 sleeps for 3 seconds when it comes a moment too early.
    """
    host, _, port = (os.environ.get("PADDLE_MASTER") or "").rpartition(":")
    while port and time.monotonic() < until:
        try:
            socket.create_connection((host, int(port)), timeout=_MASTER_SECONDS).close()
            return
        except OSError:
            time.sleep(_PAUSE / 5)


def _require_free_master() -> None:
    """Paddle aborts the process if the port is taken on which it connects the others."""
    _, _, port = (os.environ.get("PADDLE_MASTER") or "").rpartition(":")
    if port:
        _listening(int(port), "PADDLE_MASTER").close()


def _listening(port: int, variable: str) -> socket.socket:
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind(("", port))
        door.listen(socket.SOMAXCONN)
    except OSError as error:
        door.close()
        if error.errno != errno.EADDRINUSE:
            raise ParallelError(f"Port {port} of {variable} cannot be used: {error.strerror}.") from error
        raise ParallelError(
            f"Port {port} of {variable}, on which the processes of this run meet, is taken by another program. Start "
            "the run again: the launcher picks other ports; or give a free one with --master HOST:PORT."
        ) from error
    return door


def _nobody(missing: set[int], size: int, seconds: float) -> str:
    who = f"rank {min(missing)}" if len(missing) == 1 else f"ranks {', '.join(map(str, sorted(missing)))}"
    return (
        f"{size} processes are to train together (PADDLE_TRAINERS_NUM), and {who} did not come within {seconds:g} s. "
        "Start all of them with `python -m paddle.distributed.launch --nproc_per_node N ...`, on every node with the "
        "same --nnodes and --master; or, for a single process, unset PADDLE_TRAINERS_NUM."
    )
