"""Runs a program straight through and again with kills, as real processes, and compares what they leave."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Optional

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.testing.compare import first_differences
from paddle_resume.testing.kill_plan import Kill, Plan
from paddle_resume.testing.life import Ending, Start, live, spawn


@dataclass
class Proof:
    """What came of it: which kills landed, how those lives ended, and every difference, the earliest first."""

    kills: list[Kill]
    landed: list[Kill] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every kill landed and nothing differs."""
        return not self.differences and self.landed == self.kills

    @property
    def signals(self) -> Counter[str]:
        """How many of the kills that landed were made by which signal."""
        return Counter(kill.signal for kill in self.landed)

    def explain(self) -> str:
        """Why it does not hold, or that it does."""
        missed = [kill.until for kill in self.kills[len(self.landed) :]]
        lines = [f"not {until}: the run ended before" for until in missed] + self.differences
        return "\n".join(lines) or f"identical after {len(self.landed)} kills"


def run_and_compare(
    program: Sequence[str],
    folder: Path,
    kills: Sequence[Kill],
    *,
    processes: int = 1,
    resumed: Optional[Sequence[str]] = None,
    forget: Sequence[str] = (),
    working_directory: Optional[Path] = None,
    timeout: Optional[float] = None,
    tell: Callable[[str], Any] = lambda text: None,
    start: Start = spawn,
    memory: bool = False,
) -> Proof:
    """Run `program` once untouched in `folder`/straight, and once killed again and again in `folder`/killed.

    `program` is a Python file with arguments, or `["-m", module, ...]`, that trains and leaves all its files
    below its folder, for which `{folder}` in an argument stands, and which is its working directory unless
    another is given. With several `processes` each of them runs it, in the environment that Paddle's launcher gives
    its processes, over gloo; whichever a kill leaves over has to end by itself. `resumed` is the program used after the
    first kill, if it is to be another (more workers, say). `forget` names owners whose restore is left out: with any
    of them the proof has to fail. `start` starts the processes: each a new Python, or by `forked.ForkServers`, without
    the seconds in which it imports Paddle. With `memory` each step is saved in memory too, and two of three lives look
    for such a save; else nothing is.

    After a SIGTERM or SIGINT every process has to end by that signal or by 128 and its number, and the step after
    which the run says that it stopped has to be saved and to be the one that was under way, or the next one. That
    checkpoint may then be there more than in the straight run; that no other was pruned for it, `keep` has to see to.

    Raises LifeError, a RuntimeError with its output, for a process that fails by itself.
    """
    proof = Proof(list(kills))
    tell("Running once, untouched.")
    run = partial(live, processes=processes, working_directory=working_directory, timeout=timeout, start=start)
    began = time.monotonic()
    run(program, folder / "straight", Plan(str(folder / "report")), variables=_variables(False, 0))
    run = partial(run, duration=time.monotonic() - began)
    report = folder / "report-killed"
    for life, kill in enumerate(kills):
        tell(f"Running until {kill.until}.")
        plan = Plan(str(report), kill, list(forget))
        plan.came.unlink(missing_ok=True)
        ending = run(program, folder / "killed", plan, variables=_variables(memory, life))
        if ending.finished:
            break
        proof.landed.append(kill)
        proof.endings.append(ending)
        if kill.is_stop:
            proof.differences += [f"{kill.until}: {one}" for one in _stop_problems(folder / "killed", plan, ending)]
        program = resumed or program
    else:
        tell("Running to the end.")
        run(program, folder / "killed", Plan(str(report), None, list(forget)), variables=_variables(memory, len(kills)))
    if report.exists():
        proof.differences += report.read_text(encoding="utf-8").splitlines()
    stopped = {one.stopped_after for one in proof.endings if one.stopped_after is not None}
    proof.differences += first_differences(folder / "straight", folder / "killed", stopped_after=stopped)
    return proof


def _variables(memory: bool, life: int) -> dict[str, str]:
    return {"PADDLE_RESUME_MEMORY": "1" if memory and life % 3 < 2 else "off"}


def _stop_problems(folder: Path, plan: Plan, ending: Ending) -> Iterator[str]:
    """What a stop should have done and did not."""
    said, came = ending.stopped_after, None
    if plan.came.exists():
        came = int(plan.came.read_text(encoding="utf-8"))
    if said is None:
        # From outside it may also find a run that has not begun to train, or has nothing left to save.
        if came is not None:
            code = ", ".join(map(str, dict.fromkeys(ending.codes)))
            yield f"the run ended with exit code {code} and did not say after which step it stopped"
        return
    if came is not None and said not in (came + 1, came + 2):
        yield f"it came in step {came}, and the run stopped after step {said}; expected {came + 1} or {came + 2}"
    if not any(_is_whole(prefix, said) for prefix in _prefixes(folder)):
        yield f"the run stopped after step {said}, and no whole checkpoint holds that step"


def _prefixes(folder: Path) -> list[Path]:
    return [
        found.prefix for parent in {path.parent for path in folder.rglob(f"*{SUFFIX}")} for found in find_all(parent)
    ]


def _is_whole(prefix: Path, step: int) -> bool:
    try:
        return load(prefix).record.step == step
    except Unreadable:
        return False


def assert_exact_resume(
    program: Sequence[str],
    folder: Path,
    kills: Sequence[Kill],
    *,
    processes: int = 1,
    resumed: Optional[Sequence[str]] = None,
    forget: Sequence[str] = (),
    timeout: float = 300,
    start: Start = spawn,
    memory: bool = False,
) -> None:
    """Fail with the first differences unless `program` ends the same after these kills; see `run_and_compare`."""
    proof = run_and_compare(
        program,
        folder,
        kills,
        processes=processes,
        resumed=resumed,
        forget=forget,
        timeout=timeout,
        start=start,
        memory=memory,
    )
    if not proof.holds:
        raise AssertionError(f"the killed run is not the straight one:\n{proof.explain()}")
