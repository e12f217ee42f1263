"""A process that has imported Paddle and forks a child for each program that it is told to run.

`forked` is its client, and says what children have in common. No other thread of the process runs while it forks, so
that a child finds no lock that another thread held. Where that cannot be had, it says so and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

_LOOK_SECONDS = 1.0
_SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h
MESSAGE_BYTES = 1 << 18
# Programs that are proved are on top of this package, and the command line is one of them: nothing here calls it.
_IMPORTED_BY_RUNS = ("training.trainer", "builders.run", "loggers.visualdl", "cli.app")


@dataclass(frozen=True)
class Order:
    """What a child is to do: Python's command line without Python, where, and what its environment has otherwise."""

    arguments: list[str]
    folder: str
    environment: dict[str, Optional[str]]


def main() -> None:
    """Serve the client whose socket and pid are the arguments of this process; in a child, run its program."""
    control, client = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    order = _serve(control, client)
    if order is not None:
        _run(order)


def _serve(control: socket.socket, client: int) -> Optional[Order]:
    """Fork until the client hangs up or dies. Returns more than once: None here, and its order in each child."""
    given = dict(os.environ)
    _import_what_runs_import()
    imported = {name: value for name, value in os.environ.items() if given.get(name) != value}
    control.sendall(json.dumps({"can_fork": _can_fork(), "environment": imported}).encode())
    server = os.getpid()

    def tell_of_the_dead(*_: Any) -> None:
        with contextlib.suppress(ChildProcessError, OSError):
            while (dead := os.waitpid(-1, os.WNOHANG))[0]:
                control.sendall(json.dumps({"pid": dead[0], "code": os.waitstatus_to_exitcode(dead[1])}).encode())

    signal.signal(signal.SIGCHLD, tell_of_the_dead)
    control.settimeout(_LOOK_SECONDS)
    while True:
        try:
            message, files, *_ = socket.recv_fds(control, MESSAGE_BYTES, 3)
        except socket.timeout:
            # The client's death is no hang-up while a forked child of it still holds the other end.
            if os.getppid() != client:
                return None
            continue
        if not message:
            return None
        child = _fork_while_others_sleep()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            return _begin(Order(**json.loads(message)), files, server)
        for file in files:
            os.close(file)
        control.sendall(json.dumps({"started": child}).encode())


def _fork_while_others_sleep() -> int:
    """The same as `os.fork`; a child of a moment in which another thread ran may hang in its locks, and is dropped."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # The client never hears of those that are dropped.
    try:
        while True:
            asleep, (answer, go) = _sleeping_threads(), os.pipe()
            child = os.fork()
            if child == 0:
                os.close(go)
                if not os.read(answer, 1):
                    os._exit(0)
                os.close(answer)
                return 0
            os.close(answer)
            if asleep is not None and _sleeping_threads() == asleep:
                os.write(go, b"!")
                os.close(go)
                return child
            os.close(go)
            os.waitpid(child, 0)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _sleeping_threads() -> Optional[dict[str, list[str]]]:
    """How often each thread but this one has gone to sleep; None if one of them is awake."""
    switches = {}
    for thread in Path("/proc/self/task").iterdir():
        if int(thread.name) != os.getpid():
            lines = (thread / "status").read_text(encoding="ascii").splitlines()
            if not any(line.startswith("State:\tS") for line in lines):
                return None
            switches[thread.name] = [line for line in lines if "ctxt_switches" in line]
    return switches


def _import_what_runs_import() -> None:
    for module in _IMPORTED_BY_RUNS:
        importlib.import_module(f"paddle_resume.{module}")

    # No child collects, and thereby copies, what was imported: its end takes a fifth of the time.
    gc.collect()
    gc.freeze()


def _can_fork() -> bool:
    """Whether nothing runs here beside this thread, and no driver of a GPU, which bears no fork, may be in use."""
    import paddle

    # OpenBLAS ends its threads before a fork, and starts them when they are needed again: counted after one.
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    # In Paddle 2.6 bvar samples its own counters in a thread, which starts itself again in a forked child.
    threads = 2 if paddle.__version__.startswith("2.") else 1
    return len(list(Path("/proc/self/task").iterdir())) <= threads and not paddle.is_compiled_with_cuda()


def _begin(order: Order, files: list[int], server: int) -> Order:
    """Make this child what a new process would be, up to the first line of its program."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)  # The server died before it was heard of.
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(order.folder)
    for name, value in order.environment.items():
        if name == "PYTHONPATH":
            _put_on_the_path(os.environ.get(name, ""), value or "")
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    import numpy as np

    np.random.seed()  # Python seeds its own generator anew in a fork, and Paddle its at the first use.
    return order


def _put_on_the_path(before: str, after: str) -> None:
    """Have the module path begin as a Python under the other PYTHONPATH has it, behind the program's own folder."""
    old, new = ([str(Path(p).absolute()) for p in text.split(os.pathsep)] if text else [] for text in (before, after))
    sys.path[1:] = [*new, *(path for path in sys.path[1:] if path not in old)]


def _run(order: Order) -> None:
    """Do what `python ARGUMENTS` does."""
    first, *rest = order.arguments
    if first == "-m":
        sys.path[0], sys.argv = order.folder, rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    if first == "-c":
        sys.path[0], sys.argv = "", ["-c", *rest[1:]]
        code = compile(rest[0], "<string>", "exec")
    else:
        sys.path[0], sys.argv = str(Path(first).resolve().parent), order.arguments
        module.__file__ = first
        code = compile(Path(first).read_bytes(), first, "exec")
    exec(code, vars(module))
