"""Runs a program straight through and again with kills, as real processes, and compares what they leave."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Optional

from paddle_resume.testing.compare import first_differences
from paddle_resume.testing.kill_plan import Kill, Plan


@dataclass
class Proof:
    """What came of it: which kills landed, and every difference, the earliest first."""

    kills: list[Kill]
    landed: list[Kill] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every kill landed and nothing differs."""
        return not self.differences and self.landed == self.kills

    def explain(self) -> str:
        """Why it does not hold, or that it does."""
        missed = [str(kill) for kill in self.kills if kill not in self.landed]
        lines = [f"not killed {kill}: the run ended before" for kill in missed] + self.differences
        return "\n".join(lines) or f"identical after {len(self.landed)} kills"


def run_and_compare(
    program: Sequence[str],
    folder: Path,
    kills: Sequence[Kill],
    *,
    resumed: Optional[Sequence[str]] = None,
    forget: Sequence[str] = (),
    working_directory: Optional[Path] = None,
    timeout: Optional[float] = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> Proof:
    """Run `program` once untouched in `folder`/straight, and once killed again and again in `folder`/killed.

    `program` is a Python file with arguments, or `["-m", module, ...]`, that trains and leaves all its files
    below its folder, for which `{folder}` in an argument stands, and which is its working directory unless
    another is given. `resumed` is the program used after the first kill, if it is to be another (more workers,
    say). `forget` names owners whose restore is left out: with any of them the proof has to fail.

    Raises RuntimeError, with its output, for a process that fails by itself.
    """
    proof = Proof(list(kills))
    tell("Running once, untouched.")
    live = partial(_live, working_directory=working_directory, timeout=timeout)
    began = time.monotonic()
    live(program, folder / "straight", Plan(str(folder / "report")))
    live = partial(live, duration=time.monotonic() - began)
    report = folder / "report-killed"
    for kill in kills:
        tell(f"Running until killed {kill}.")
        if live(program, folder / "killed", Plan(str(report), kill, list(forget))):
            break
        proof.landed.append(kill)
        program = resumed or program
    else:
        tell("Running to the end.")
        live(program, folder / "killed", Plan(str(report), None, list(forget)))
    if report.exists():
        proof.differences += report.read_text(encoding="utf-8").splitlines()
    proof.differences += first_differences(folder / "straight", folder / "killed")
    return proof


def assert_exact_resume(
    program: Sequence[str],
    folder: Path,
    kills: Sequence[Kill],
    *,
    resumed: Optional[Sequence[str]] = None,
    forget: Sequence[str] = (),
    timeout: float = 300,
) -> None:
    """Fail with the first differences unless `program` ends the same after these kills; see `run_and_compare`."""
    proof = run_and_compare(program, folder, kills, resumed=resumed, forget=forget, timeout=timeout)
    if not proof.holds:
        raise AssertionError(f"the killed run is not the straight one:\n{proof.explain()}")


def _live(
    program: Sequence[str],
    folder: Path,
    plan: Plan,
    working_directory: Optional[Path],
    timeout: Optional[float],
    duration: float = 0.0,
) -> bool:
    """Run one life of the program; True if it reached its end, False if it was killed as planned."""
    folder.mkdir(parents=True, exist_ok=True)
    plan_path = folder.parent / "plan.json"
    plan.write(plan_path)
    command = [sys.executable, "-m", "paddle_resume.testing.harness", str(plan_path)]
    command += [argument.replace("{folder}", str(folder)) for argument in program]
    # Into a file, not a pipe: data workers that outlive a killed trainer for a moment hold the pipe open.
    output = folder.parent / "output.txt"
    with output.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(
            command,
            cwd=working_directory or folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
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
