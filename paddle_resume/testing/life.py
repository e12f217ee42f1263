"""One life of a program under proof: started, killed where that is planned, and heard if it fails by itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Callable, Optional, Protocol

from paddle_resume.testing.kill_plan import Plan


class Process(Protocol):
    """What a life needs of `subprocess.Popen`."""

    def wait(self, timeout: Optional[float] = None) -> int:
        """The exit code once it has ended, minus the signal if one ended it; raises subprocess.TimeoutExpired."""
        ...

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended."""
        ...


Start = Callable[[Sequence[str], Path, IO[str]], Process]
"""Starts `python ARGUMENTS` in a folder, writing to a file."""


def spawn(arguments: Sequence[str], folder: Path, output: IO[str]) -> Process:
    """Start a new Python."""
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    )


def run_life(
    program: Sequence[str],
    folder: Path,
    plan: Plan,
    *,
    working_directory: Optional[Path] = None,
    timeout: Optional[float] = None,
    duration: float = 0.0,
    start: Start = spawn,
) -> bool:
    """Run one life of the program; True if it reached its end, False if it was killed as planned.

    `program` is as in `run_and_compare`; `duration`, in seconds, is what a kill at a time is a share of. Raises
    RuntimeError, with its output, for a program that fails by itself, and subprocess.TimeoutExpired.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan_path = folder.parent / "plan.json"
    plan.write(plan_path)
    arguments = ["-m", "paddle_resume.testing.harness", str(plan_path)]
    arguments += [argument.replace("{folder}", str(folder)) for argument in program]
    # Into a file, not a pipe: data workers that outlive a killed trainer for a moment hold the pipe open.
    output = folder.parent / "output.txt"
    with output.open("w", encoding="utf-8") as sink:
        process = start(arguments, working_directory or folder, sink)
        try:
            if plan.kill is not None and plan.kill.moment == "time":
                with suppress(subprocess.TimeoutExpired):
                    process.wait(duration * plan.kill.count / 1000)
                process.kill()
            code = process.wait(timeout)
        finally:
            process.kill()
    if plan.kill is not None and code == -signal.SIGKILL:
        return False
    if code != 0:
        text = output.read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"the program ended with exit code {code}:\n{text}")
    return True
