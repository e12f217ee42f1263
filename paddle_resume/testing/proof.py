"""Runs a program straight through and again with kills, as real processes, and compares what they leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Optional

from paddle_resume.testing.compare import first_differences
from paddle_resume.testing.kill_plan import Kill, Plan
from paddle_resume.testing.life import Start, run_life, spawn


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
    start: Start = spawn,
) -> Proof:
    """Run `program` once untouched in `folder`/straight, and once killed again and again in `folder`/killed.

    `program` is a Python file with arguments, or `["-m", module, ...]`, that trains and leaves all its files
    below its folder, for which `{folder}` in an argument stands, and which is its working directory unless
    another is given. `resumed` is the program used after the first kill, if it is to be another (more workers,
    say). `forget` names owners whose restore is left out: with any of them the proof has to fail. `start` starts the
    processes: each a new Python, or by `forked.ForkServers`, without the seconds in which it imports Paddle.

    Raises RuntimeError, with its output, for a process that fails by itself.
    """
    proof = Proof(list(kills))
    tell("Running once, untouched.")
    live = partial(run_life, working_directory=working_directory, timeout=timeout, start=start)
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
    start: Start = spawn,
) -> None:
    """Fail with the first differences unless `program` ends the same after these kills; see `run_and_compare`."""
    proof = run_and_compare(program, folder, kills, resumed=resumed, forget=forget, timeout=timeout, start=start)
    if not proof.holds:
        raise AssertionError(f"the killed run is not the straight one:\n{proof.explain()}")
