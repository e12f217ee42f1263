"""Runs Python programs for tests as forked children of processes that have imported Paddle, once in a session.

What a test is about in the start or the end of a Python process it starts by `subprocess`, and so does a program that
sets variables which Paddle reads while it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Optional

from paddle_resume.testing import life, proof
from paddle_resume.testing.forked import ForkServers

# Threads that wait for work sleep: where two test processes share two cores, those that spin take a third of the time.
# Paddle reads it when it is imported; no bit depends on it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# As it is before any test changes it.
_ENVIRONMENT = dict(os.environ)
_servers: dict[Optional[str], ForkServers] = {}


def servers(threads: Optional[str] = None) -> ForkServers:
    """The servers, from the first program on; another pair for programs with another OMP_NUM_THREADS."""
    if threads not in _servers:
        _servers[threads] = ForkServers({**_ENVIRONMENT, **({"OMP_NUM_THREADS": threads} if threads else {})})
    return _servers[threads]


def close() -> None:
    """End all servers."""
    while _servers:
        _servers.popitem()[1].close()


def _start(
    arguments: Sequence[str], folder: Path, output: IO[str], environment: Mapping[str, str] = life.NO_VARIABLES
) -> life.Process:
    return servers()(arguments, folder, output, environment)


run_life = partial(life.run_life, start=_start)
run_and_compare = partial(proof.run_and_compare, start=_start)
assert_exact_resume = partial(proof.assert_exact_resume, start=_start)


class Started:
    """A program that runs: as much of `subprocess.Popen` with text pipes as tests use."""

    def __init__(self, process: Any, stdout: IO[str], stderr: IO[str]) -> None:
        self._process = process
        self.pid, self.stdout, self.stderr = process.pid, stdout, stderr
        self.poll, self.wait, self.kill = process.poll, process.wait, process.kill
        self.send_signal = process.send_signal

    @property
    def returncode(self) -> Optional[int]:
        return self._process.returncode

    def communicate(self, timeout: Optional[float] = None) -> tuple[str, str]:
        """All that it still writes, once it has ended; raises subprocess.TimeoutExpired."""
        said: dict[str, str] = {}
        readers = [
            threading.Thread(target=lambda n=n, s=s: said.update({n: s.read()}), daemon=True)
            for n, s in (("out", self.stdout), ("err", self.stderr))
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        for stream in (self.stdout, self.stderr):
            stream.close()
        return said["out"], said["err"]


def start(
    arguments: Sequence[object], folder: Optional[Path] = None, *, merged: bool = False, **environment: str
) -> Started:
    """Start `python ARGUMENTS` in a folder, with these variables besides; `merged`: errors go to its output."""
    pipes = [os.pipe(), os.pipe()]
    output, errors = pipes[0][1], pipes[0][1] if merged else pipes[1][1]
    given = [str(argument) for argument in arguments]
    where, variables = folder or Path.cwd(), {**os.environ, **environment}
    server = servers(environment.get("OMP_NUM_THREADS")).next(variables)
    if server:
        process: Any = server.start(given, where, variables, output, errors)
    else:
        process = subprocess.Popen(
            [sys.executable, *given],
            cwd=where,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
    for _, end in pipes:
        os.close(end)
    return Started(process, *(open(end, encoding="utf-8") for end, _ in pipes))


def run(
    arguments: Sequence[object], folder: Optional[Path] = None, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in a folder to its end, with these variables besides."""
    process = start(arguments, folder, **environment)
    try:
        out, err = process.communicate(timeout)
    finally:
        process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess(list(map(str, arguments)), process.returncode, out, err)
