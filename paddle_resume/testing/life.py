"""One life of a program under proof, in one process or several: started, interrupted as planned, heard if it fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional, Protocol

from paddle_resume.testing.kill_plan import TELL_WHERE, Plan
from paddle_resume.testing.rank_environment import launcher_environments
from paddle_resume.translations.language import VARIABLE as LANGUAGE_VARIABLE

_PAUSE = 0.02
_SECONDS_TO_END = 90.0
"""Within so many seconds of one process's death all others have to end; gloo waits 30 for a process that is gone."""
_SECONDS_TO_TELL = 1.0
_ANOTHER_FAILED = 3
NO_VARIABLES: Mapping[str, str] = {}


class Process(Protocol):
    """What a life needs of `subprocess.Popen`."""

    def poll(self) -> Optional[int]:
        """The exit code, or minus the signal, of a process that has ended; else None."""
        ...

    def wait(self, timeout: Optional[float] = None) -> int:
        """The same once it has ended; raises subprocess.TimeoutExpired if it has not within `timeout` seconds."""
        ...

    def send_signal(self, sig: int, /) -> None:
        """Send it a signal, unless it has ended."""
        ...

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended."""
        ...


class Start(Protocol):
    """Starts `python ARGUMENTS` in a folder, writing to a file, with some environment variables besides."""

    def __call__(
        self, arguments: Sequence[str], folder: Path, output: IO[str], environment: Mapping[str, str] = NO_VARIABLES, /
    ) -> Process: ...


def spawn(
    arguments: Sequence[str], folder: Path, output: IO[str], environment: Mapping[str, str] = NO_VARIABLES
) -> Process:
    """Start a new Python."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )


class LifeError(RuntimeError):
    """A program under proof that failed by itself or hangs; `output` is all that the process that failed has said."""

    def __init__(self, what: str, output: str) -> None:
        super().__init__(f"{what}:\n{output}")
        self.what = what
        self.output = output


@dataclass(frozen=True)
class Ending:
    """How a life ended: whether the program reached its end, or else was interrupted as planned."""

    finished: bool
    codes: tuple[int, ...]
    """The exit code of each process, by rank; minus the signal if one ended it."""
    stopped_after: Optional[int] = None
    """After how many steps the run has told that it stopped."""


def run_life(
    program: Sequence[str],
    folder: Path,
    plan: Plan,
    *,
    processes: int = 1,
    working_directory: Optional[Path] = None,
    timeout: Optional[float] = None,
    duration: float = 0.0,
    start: Start = spawn,
    variables: Mapping[str, str] = NO_VARIABLES,
) -> bool:
    """Run one life of the program; True if it reached its end, False if it was interrupted as planned.

    `program` is as in `run_and_compare`; `duration`, in seconds, is what a kill at a time is a share of; `variables`
    are added to the environment. Raises LifeError, with its output, for a program that fails by itself, or still runs
    after `timeout` seconds; then its output ends with where its threads are.
    """
    return live(
        program,
        folder,
        plan,
        processes=processes,
        working_directory=working_directory,
        timeout=timeout,
        duration=duration,
        start=start,
        variables=variables,
    ).finished


def live(
    program: Sequence[str],
    folder: Path,
    plan: Plan,
    *,
    processes: int = 1,
    working_directory: Optional[Path] = None,
    timeout: Optional[float] = None,
    duration: float = 0.0,
    start: Start = spawn,
    variables: Mapping[str, str] = NO_VARIABLES,
) -> Ending:
    """The same as `run_life`; tells how the life ended."""
    folder.mkdir(parents=True, exist_ok=True)
    environments: Sequence[Mapping[str, str]] = [NO_VARIABLES] if processes == 1 else launcher_environments(processes)
    # Into files, not pipes: data workers that outlive a killed trainer for a moment hold the pipe open.
    outputs = [folder.parent / f"output{rank or ''}.txt" for rank in range(processes)]
    ranks: list[Process] = []
    with ExitStack() as stack:
        for rank, environment in enumerate(environments):
            plan_path = folder.parent / f"plan{rank or ''}.json"
            plan.of_rank(rank).write(plan_path)
            arguments = ["-m", "paddle_resume.testing.harness", str(plan_path)]
            arguments += [argument.replace("{folder}", str(folder)) for argument in program]
            sink = stack.enter_context(outputs[rank].open("w", encoding="utf-8"))
            # Its output is read by this program, and English is what it can read.
            given = {**environment, **variables, LANGUAGE_VARIABLE: "en"}
            ranks.append(start(arguments, working_directory or folder, sink, given))
            stack.callback(ranks[-1].kill)
        codes = _Wait(ranks, plan, outputs, timeout, duration).codes()
    return _ending(codes, plan, outputs)


class _Wait:
    """Waits for all processes of a life, and interrupts them where the plan says so from outside."""

    def __init__(
        self, ranks: Sequence[Process], plan: Plan, outputs: Sequence[Path], timeout: Optional[float], duration: float
    ) -> None:
        self._ranks = ranks
        self._kill = plan.kill
        self._outputs = outputs
        self._timeout = timeout
        self._began = time.monotonic()
        self._first_death: Optional[float] = None
        self._strikes_at: Optional[float] = None
        if self._kill is not None and self._kill.moment == "time":
            self._strikes_at = self._began + duration * self._kill.count / 1000

    def codes(self) -> tuple[int, ...]:
        """The exit codes by rank, once all have ended; raises LifeError."""
        while True:
            codes = [process.poll() for process in self._ranks]
            ended = [code for code in codes if code is not None]
            if len(ended) == len(codes):
                return tuple(ended)
            self._strike()
            self._take_all_with(ended)
            self._require_progress(codes)
            living = next(process for process, code in zip(self._ranks, codes) if code is None)
            try:
                living.wait(_PAUSE)
            except subprocess.TimeoutExpired:
                continue

    def _where_they_are(self, codes: Sequence[Optional[int]]) -> str:
        """What the processes that still run have said, and where each of their threads is."""
        living = [rank for rank, code in enumerate(codes) if code is None]
        for rank in living:
            if TELL_WHERE is not None:
                self._ranks[rank].send_signal(TELL_WHERE)
        time.sleep(_SECONDS_TO_TELL)
        return "\n".join(_said(self._outputs[rank]) for rank in living)

    def _strike(self) -> None:
        if self._kill is None or self._strikes_at is None or time.monotonic() < self._strikes_at:
            return
        self._strikes_at = None
        for process in self._ranks if self._kill.rank is None else [self._ranks[self._kill.rank]]:
            process.send_signal(self._kill.signum)

    def _take_all_with(self, ended: Sequence[int]) -> None:
        """A kill of all processes takes those too that had not yet come to its point."""
        kill = self._kill
        if kill is not None and kill.rank is None and not kill.is_stop and -kill.signum in ended:
            for process in self._ranks:
                process.kill()

    def _require_progress(self, codes: Sequence[Optional[int]]) -> None:
        now = time.monotonic()
        if self._timeout is not None and now - self._began > self._timeout:
            raise LifeError(f"the program still runs after {self._timeout:g} s", self._where_they_are(codes))
        dead = [rank for rank, code in enumerate(codes) if code]
        if not dead:
            return
        self._first_death = self._first_death or now
        if now - self._first_death > _SECONDS_TO_END:
            living = next(rank for rank, code in enumerate(codes) if code is None)
            what = f"rank {living} still runs, {_SECONDS_TO_END:g} s after rank {dead[0]} has ended"
            raise LifeError(what, _said(self._outputs[living]))


def _ending(codes: tuple[int, ...], plan: Plan, outputs: Sequence[Path]) -> Ending:
    """What came of the life; raises LifeError if it ended otherwise than the plan allows."""
    kill = plan.kill
    if not any(codes):
        return Ending(True, codes)
    if kill is not None and kill.is_stop:
        told = re.findall(r"Stopped after step (\d+)", _said(outputs[0]))
        answers = {128 + kill.signum, -kill.signum}
        # One that comes before the processes train together ends its own; the others see that one is gone.
        allowed = answers if told or kill.moment != "time" else {*answers, _ANOTHER_FAILED}
        if allowed.issuperset(codes) and answers.intersection(codes):
            return Ending(False, codes, int(told[-1]) if told else None)
    victims = codes if kill is None or kill.rank is None else codes[kill.rank : kill.rank + 1]
    if kill is not None and not kill.is_stop and -signal.SIGKILL in victims:
        return Ending(False, codes)
    # The one that failed first is none of those that end because another one did.
    failed = min((rank for rank, code in enumerate(codes) if code), key=lambda rank: codes[rank] == _ANOTHER_FAILED)
    which = "the program" if len(codes) == 1 else f"rank {failed}"
    raise LifeError(f"{which} ended with exit code {codes[failed]}", _said(outputs[failed]))


def _said(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace")
