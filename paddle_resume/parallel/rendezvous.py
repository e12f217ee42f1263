"""The meeting of a run's processes, before Paddle connects them: Paddle waits in C++, which nothing interrupts.

With the wrong address, a port that is taken or a process that never comes it aborts, or hangs for good. So rank 0
first waits for every rank, at its own endpoint of those that the launcher hands out, and says who is missing. The
lines to those that came remain: see `channel`.
"""

from __future__ import annotations

import errno
import os
import socket
import time

from paddle_resume.errors import ParallelError
from paddle_resume.parallel.channel import Channel, Hub, Spoke
from paddle_resume.parallel.line import OTHER_SIZE, WELCOME, Line, NotOfThisRun, join
from paddle_resume.parallel.secret import VARIABLE, shared_secret
from paddle_resume.parallel.welcome import Door, addresses_to_listen_at

_PAUSE = 0.05
_REPLY_SECONDS = 10.0
_MASTER_SECONDS = 5.0


def meet(rank: int, size: int, seconds: float, timeout: float, *, connects: bool = True) -> Channel:
    """Wait until all processes are there, and give the channel between them; `timeout` is the channel's.

    `connects`: Paddle's own connections are made right after it. Raises ParallelError if they are not there within so
    many seconds.
    """
    endpoints = [each for each in (os.environ.get("PADDLE_TRAINER_ENDPOINTS") or "").split(",") if each]
    if len(endpoints) != size:
        raise ParallelError(
            f"{size} processes are to train together (PADDLE_TRAINERS_NUM), and PADDLE_TRAINER_ENDPOINTS has "
            f"{len(endpoints)} addresses. Start them with `python -m paddle.distributed.launch`, or give each process "
            "all addresses as it does: HOST:PORT,HOST:PORT, by rank."
        )
    secret = shared_secret()
    host, _, port = endpoints[0].rpartition(":")
    until = time.monotonic() + seconds
    if rank > 0:
        line = _go_to(host, int(port), rank, size, secret, until, seconds)
        if connects:
            # Not for long: one who knocks again and again where nobody listens may at last be answered by itself, and
            # holds the port then.
            _await_master(time.monotonic() + _MASTER_SECONDS)
        return Spoke(line, timeout)
    _require_free_master()
    places = addresses_to_listen_at(host, [each.rpartition(":")[0] for each in endpoints])
    with Door(_listening(places, int(port)), size, secret) as door:
        door.admit_all(until)
        if door.missing:
            raise ParallelError(_nobody(door.missing, size, seconds, door.turned_away))
        return Hub(door.lines(), timeout)


def _go_to(host: str, port: int, rank: int, size: int, secret: bytes, until: float, seconds: float) -> Line:
    """The line to rank 0, on which it has said that all are there."""
    while True:
        left = max(_PAUSE, until - time.monotonic())
        try:
            with socket.create_connection((host, port), timeout=left) as end:
                end.settimeout(min(left, _REPLY_SECONDS))
                reply, line = join(end, secret, rank, size)
            if reply != WELCOME:
                raise ParallelError(_refused(reply, f"{host}:{port}", size))
            if line.poll(max(_PAUSE, until - time.monotonic())):
                line.receive()
                break
            reason = "others are missing"
        except EOFError:
            reason = "it ended"
        except NotOfThisRun:
            reason = "what answers there is not rank 0 of this run"
        except OSError as error:
            reason = str(error)
        if time.monotonic() >= until:
            raise ParallelError(
                f"rank 0 could not be reached at {host}:{port} within {seconds:g} s ({reason}). Look at its output, "
                "and whether every node was started with the same --nnodes and --master and can reach that address."
            )
        time.sleep(_PAUSE)
    return line


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
        _bound("", int(port), "PADDLE_MASTER").close()


def _listening(places: list[str], port: int) -> socket.socket:
    """A socket that listens at the first of `places` that is an address of this machine."""
    for place in places:
        try:
            door = _bound(place, port, "PADDLE_CURRENT_ENDPOINT")
        except OSError:
            continue
        door.listen(socket.SOMAXCONN)
        return door
    raise ParallelError(f"None of {', '.join(places)} of PADDLE_CURRENT_ENDPOINT can be listened at.")


def _bound(place: str, port: int, variable: str) -> socket.socket:
    door = socket.socket(socket.AF_INET6 if ":" in place else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((place, port))
    except OSError as error:
        door.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise
        if error.errno != errno.EADDRINUSE:
            raise ParallelError(f"Port {port} of {variable} cannot be used: {error.strerror}.") from error
        raise ParallelError(
            f"Port {port} of {variable}, on which the processes of this run meet, is taken by another program. Start "
            "the run again: the launcher picks other ports; or give a free one with --master HOST:PORT."
        ) from error
    return door


def _refused(reply: int, address: str, size: int) -> str:
    if reply == OTHER_SIZE:
        return (
            f"rank 0 at {address} does not wait for {size} processes, or not for one of this rank: it was started with "
            "another PADDLE_TRAINERS_NUM. Start every node with the same --nnodes and --nproc_per_node."
        )
    return (
        f"rank 0 at {address} has another secret than this process, so neither believes that the other is of its run. "
        f"Set {VARIABLE} to the same random text on every node, or give the nodes a common home folder: the secret is "
        "in ~/.config/paddle_resume/secret there."
    )


def _nobody(missing: set[int], size: int, seconds: float, turned_away: str) -> str:
    who = f"rank {min(missing)}" if len(missing) == 1 else f"ranks {', '.join(map(str, sorted(missing)))}"
    return (
        f"{size} processes are to train together (PADDLE_TRAINERS_NUM), and {who} did not come within {seconds:g} s."
        f"{turned_away} Start all of them with `python -m paddle.distributed.launch --nproc_per_node N ...`, on every "
        "node with the same --nnodes and --master; or, for a single process, unset PADDLE_TRAINERS_NUM."
    )
