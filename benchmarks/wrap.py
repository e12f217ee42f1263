"""What wrapping costs: each step of a loop plain and wrapped, and how soon a killed run makes its next step.

python -m benchmarks.wrap [--loop small] [--loop resnet18] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.child_process import bare_environment
from paddle_resume.errors import PaddleResumeError

_LOOP = Path(__file__).with_name("wrapped_loop.py")
_STEPS = {"small": 3000, "resnet18": 60}
_SAVED_AT = {"small": 1500, "resnet18": 20}
"""The step whose checkpoint a killed run goes on from."""
_WARMUP = 0.1
"""The part of the steps at the start of a process that does not count."""


class Run(NamedTuple):
    """One process: when it was started, and when each of its steps had ended."""

    begun: float
    ends: list[float]

    @property
    def seconds(self) -> list[float]:
        """Of each step that counts."""
        ends = self.ends[int(len(self.ends) * _WARMUP) :]
        return [after - before for before, after in zip(ends, ends[1:])]

    @property
    def first_step(self) -> float:
        """Seconds from the start of the process."""
        return self.ends[0] - self.begun


class Pair(NamedTuple):
    """A plain run and a wrapped one, one right after the other."""

    plain: Run
    wrapped: Run

    def overhead(self, of: Any) -> float:
        """The part by which a wrapped step takes longer; `of` makes one figure of the seconds of all steps."""
        return of(self.wrapped.seconds) / of(self.plain.seconds) - 1


def measure(name: str, rounds: int) -> tuple[list[Pair], list[Run]]:
    """Interleaved pairs of runs, and runs that go on from a checkpoint after SIGKILL."""
    pairs, resumed = [], []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            ways = (False, True) if number % 2 == 0 else (True, False)  # Whoever is second finds a warmer machine.
            found = {wrapped: _run(name, Path(folder), wrapped) for wrapped in ways}
            pairs.append(Pair(found[False], found[True]))
        with tempfile.TemporaryDirectory() as folder:
            saving = ("--every-steps", str(_SAVED_AT[name]))
            _run(name, Path(folder), True, *saving, killed=True)
            resumed.append(_run(name, Path(folder), True, *saving))
    return pairs, resumed


def _run(name: str, folder: Path, wrapped: bool, *options: str, killed: bool = False) -> Run:
    wrap = ["-m", "paddle_resume.wrap", "--auto", *options, "--"] if wrapped else []
    with (folder / "out.txt").open("w+") as output, (folder / "errors.txt").open("w+") as errors:
        begun = time.time()
        process = subprocess.Popen(
            [sys.executable, *wrap, str(_LOOP), name, str(_STEPS[name])],
            cwd=folder,
            env=bare_environment(),
            stdout=output,
            stderr=errors,
        )
        try:
            while killed and process.poll() is None and not list((folder / "checkpoint").glob("*.pdstates")):
                time.sleep(0.005)
            if killed:
                process.kill()
            status = process.wait()
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        if status != (-9 if killed else 0):
            raise PaddleResumeError(f"{name} ended with exit code {status}:\n{errors.read()[-2000:]}")
        return Run(begun, [float(line.split()[2]) for line in output if line.startswith("step ")])


def table(name: str, pairs: list[Pair], resumed: list[Run]) -> list[str]:
    """What was measured, a figure a line; of several its median, least and largest."""
    plain = [statistics.median(pair.plain.seconds) * 1e3 for pair in pairs]
    added = [(statistics.median(pair.wrapped.seconds) - statistics.median(pair.plain.seconds)) * 1e6 for pair in pairs]
    overheads = [pair.overhead(statistics.median) * 100 for pair in pairs]
    with_saves = [pair.overhead(statistics.fmean) * 100 for pair in pairs]
    return [
        f"{name}, {len(pairs)} pairs of {_STEPS[name]} steps",
        _line("a step, plain", plain, "ms"),
        _line("wrapping adds to it", added, "µs"),
        _line("wrapping adds to it", overheads, "%"),
        _line("with its saves, on average", with_saves, "%"),
        _line("first step of a plain run", [pair.plain.first_step for pair in pairs], "s"),
        _line("first step of a wrapped run", [pair.wrapped.first_step for pair in pairs], "s"),
        _line("first new step after a kill", [run.first_step for run in resumed], "s"),
    ]


def _line(what: str, values: list[float], unit: str) -> str:
    return f"  {what:30}{statistics.median(values):10.2f} {unit:2} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure, and print as soon as something is known."""
    parser = argparse.ArgumentParser(description="What wrapping costs.")
    parser.add_argument("--loop", action="append", choices=_STEPS, help="Which loops; default: all.")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for name in given.loop or _STEPS:
        print("\n".join(table(name, *measure(name, given.rounds))), flush=True)


if __name__ == "__main__":
    main()
