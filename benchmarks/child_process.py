"""A measurement in a fresh process of its own, which reports to this one line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Optional

from paddle_resume.environment import MATH_VARIABLES
from paddle_resume.errors import PaddleResumeError
from paddle_resume.testing.rank_environment import launcher_environments

# No line of Paddle's or a user's begins so.
_MARK = "\x1e"
# Not installed with the package, so a child in another folder finds the benchmarks only through this.
_CHECKOUT = Path(__file__).resolve().parent.parent


def report(message: dict[str, Any]) -> None:
    """In the child: send `message` to the parent."""
    print(_MARK + json.dumps(message), flush=True)


def await_answer() -> None:
    """In the child: wait until the parent says to go on."""
    if not sys.stdin.readline():
        sys.exit(1)  # The parent is gone.


class Child:
    """A running child: iterate over what it reports, and `answer` where it waits."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(_MARK):
                yield json.loads(line[len(_MARK) :])

    def answer(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


@contextmanager
def child(
    name: str,
    module: str,
    spec: dict[str, Any],
    timeout: float = 3600,
    variables: Optional[dict[str, str]] = None,
) -> Iterator[Child]:
    """Run `python -m module SPEC` in the default environment and `variables`; its output is shown only if it fails.

    Raises PaddleResumeError if it ends with an error, or not within `timeout` seconds.
    """
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(spec)],
            cwd=folder,
            env={**bare_environment(), **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        clock = threading.Timer(timeout, process.kill)
        clock.start()
        try:
            with process:
                yield Child(name, process)
        except BaseException:
            process.kill()
            raise
        finally:
            expired = not clock.is_alive()
            clock.cancel()
        if process.returncode and expired:
            raise PaddleResumeError(f"{name} did not end within {timeout:g} s.")
        if process.returncode:
            errors.seek(0)
            raise PaddleResumeError(
                f"{name} ended with exit code {process.returncode}. The end of its output:\n{errors.read()[-2000:]}"
            )


def result_of(name: str, module: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The last thing that such a child reports; raises PaddleResumeError if it reports nothing."""
    with child(name, module, spec) as running:
        messages = list(running)
    return _last(name, messages)


def results_of_ranks(
    name: str, module: str, spec: dict[str, Any], ranks: int, timeout: float = 300
) -> list[dict[str, Any]]:
    """The same of `ranks` children that train together, with one thread each, by rank."""
    environments = launcher_environments(ranks) if ranks > 1 else [{}]
    names = [f"{name}, rank {rank} of {ranks}" for rank in range(ranks)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(child(each, module, spec, timeout, {**environment, "OMP_NUM_THREADS": "1"}))
            for each, environment in zip(names, environments)
        ]
        messages = [list(running) for running in children]
    return [_last(each, reported) for each, reported in zip(names, messages)]


def bare_environment() -> dict[str, str]:
    """This process's environment without what decides Paddle's speed, whoever set it; it finds the benchmarks."""
    environment = {name: value for name, value in os.environ.items() if name not in MATH_VARIABLES}
    paths = [str(_CHECKOUT), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _last(name: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    if not messages:
        raise PaddleResumeError(f"{name} ended without a result.")
    return messages[-1]
