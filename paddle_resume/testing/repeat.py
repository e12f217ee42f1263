"""Runs a program twice, untouched, and finds the first step and the first layer in it whose bits are not the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Optional

from paddle_resume.errors import PaddleResumeError
from paddle_resume.testing.compare import first_differences
from paddle_resume.testing.kill_plan import Plan
from paddle_resume.testing.life import Start, run_life, spawn

_ATTEMPTS = 3
Line = dict[str, Any]
"""Of a trace: see `step_trace`."""
Traces = Sequence[Sequence[Line]]
"""Of a run: those of its processes, by rank."""


@dataclass(frozen=True)
class Row:
    """Something in a step, in the order of the computation, and whether its bits are the same in both runs."""

    kind: str
    what: str
    same: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.what}".strip()


@dataclass
class Repetition:
    """What came of it."""

    steps: int
    """How many steps both runs have made."""
    first_step: Optional[int] = None
    """The first step, counted from 0, that is not the same; None: all of them are."""
    rows: list[Row] = field(default_factory=list)
    """What that step consists of, in the process of `rank`."""
    rank: int = 0
    """The one of several processes in which the difference comes first."""
    differences: list[str] = field(default_factory=list)
    """Where every step is the same, what the runs left that is not."""
    further_pairs: int = 0
    """How many pairs of runs were made to look into that step."""
    located: bool = False
    """Whether one of them parted first in that step. Else the difference comes by chance, and the rows are those of the
    first pair, which tell of no single layer."""

    @property
    def same(self) -> bool:
        """Whether both runs are the same, bit for bit."""
        return self.first_step is None and not self.differences

    @property
    def first(self) -> Optional[Row]:
        """The first row that is not the same."""
        return next((row for row in self.rows if not row.same), None)


def repeat_and_compare(
    program: Sequence[str],
    folder: Path,
    *,
    processes: int = 1,
    working_directory: Optional[Path] = None,
    timeout: Optional[float] = None,
    tell: Callable[[str], Any] = lambda text: None,
    start: Start = spawn,
) -> Repetition:
    """Run `program`, which trains by a Trainer, twice below `folder`, and up to three times more where that differs.

    Two further runs go up to the first step that differs, and note in it every layer, forward and backward. If these do
    not differ, the difference comes by chance, and two others are tried. With several `processes` the rows are those of
    the one in which the difference comes first. `program` and all else are as in `run_and_compare`. Raises LifeError
    for a program that fails by itself, PaddleResumeError for one without a step.
    """
    run = partial(
        _run,
        program,
        folder,
        processes=processes,
        working_directory=working_directory,
        timeout=timeout,
        start=start,
    )
    tell("Running once.")
    ours = run("first")
    if not all(ours):
        raise PaddleResumeError("No step of a Trainer was seen, so there is nothing to compare: only those are traced.")
    tell("Running again.")
    theirs = run("second")
    found = Repetition(min(len(ours[0]), len(theirs[0])), _first_step(ours, theirs))
    if found.first_step is None:
        found.differences = first_differences(folder / "first", folder / "second", other_is="second")
        if len(ours[0]) != len(theirs[0]):
            found.differences.insert(0, f"steps made: {len(ours[0])} -> {len(theirs[0])}")
        return found
    found.rank, found.rows = _first_rows(ours, theirs, found.first_step, _coarse)
    _look_into(found, run, tell)
    return found


def _look_into(found: Repetition, run: Callable[..., Traces], tell: Callable[[str], Any]) -> None:
    """Find the rows of the first step that differs, from further pairs of runs."""
    step = found.first_step
    for attempt in range(_ATTEMPTS):
        again = f" (attempt {attempt + 1} of {_ATTEMPTS})" if attempt else ""
        tell(f"Step {step} differs. Running twice up to it, to look into it{again}.")
        ours, theirs = (run(name, look_into=step) for name in ("third", "fourth"))
        found.further_pairs += 1
        differs_at = _first_step(ours, theirs)
        if differs_at is not None and differs_at == step:
            found.first_step, found.located = step, True
            found.rank, found.rows = _first_rows(ours, theirs, step, lambda line: line["events"])
            return
        if differs_at is not None:
            # By chance earlier than in the first two: the step to look into is that one.
            step = differs_at


def _run(
    program: Sequence[str],
    folder: Path,
    name: str,
    look_into: Optional[int] = None,
    *,
    processes: int,
    **options: Any,
) -> Traces:
    """What a run has traced; one that looks into a step leaves nothing else."""
    plan = Plan(str(folder / "report"), trace=str(folder / f"trace-{name}"), look_into=look_into)
    run_life(program, folder / name, plan, processes=processes, **options)
    if look_into is not None:
        shutil.rmtree(folder / name)
    texts = (plan.trace_of(rank).read_text(encoding="utf-8") for rank in range(processes))
    return [[json.loads(line) for line in text.splitlines()] for text in texts]


def _first_step(ours: Traces, theirs: Traces) -> Optional[int]:
    """The index of the first line that differs in any process, which is the number of the step."""
    pairs = (zip(a, b) for a, b in zip(ours, theirs))
    found = (next((i for i, (a, b) in enumerate(lines) if a["digests"] != b["digests"]), None) for lines in pairs)
    return min((step for step in found if step is not None), default=None)


def _first_rows(
    ours: Traces, theirs: Traces, step: int, events: Callable[[Line], Sequence[Sequence[str]]]
) -> tuple[int, list[Row]]:
    """The rank in which the difference comes first in this step, and its rows."""
    of_rank = [_rows(events(a[step]), events(b[step])) for a, b in zip(ours, theirs)]
    places = [next((i for i, row in enumerate(rows) if not row.same), len(rows)) for rows in of_rank]
    # One that has all the same is as long as any, and comes last.
    rank = min(range(len(of_rank)), key=lambda r: (places[r] == len(of_rank[r]), places[r]))
    return rank, of_rank[rank]


def _coarse(line: Line) -> Sequence[Sequence[str]]:
    return [(kind, "", digest) for kind, digest in line["digests"].items()]


def _rows(ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> list[Row]:
    rows = []
    for (kind, what, digest), (other_kind, other_what, other) in zip(ours, theirs):
        if (kind, what) != (other_kind, other_what):
            # From here on the two runs compute different things.
            rows.append(Row(kind, f"{what}, or {other_kind} {other_what}".strip(), False))
            return rows
        rows.append(Row(kind, what, digest == other))
    if len(ours) != len(theirs):
        kind, what, _ = max(ours, theirs, key=len)[len(rows)]
        rows.append(Row(kind, f"{what}, in one of the runs only", False))
    return rows
