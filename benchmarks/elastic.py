"""The price of an elastic run beside an ordinary one with as many processes: turns of both in the same processes.

python -m benchmarks.elastic [TURNS] [STEPS]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple, Optional

from benchmarks.child_process import results_of_ranks
from benchmarks.stopwatch import OtherWork

_WARMUP = 5
_DEFAULTS = (15, 10)


class Case(NamedTuple):
    """What is trained: a net of `elastic_training.NETS`, samples in a batch, processes, shares of the elastic run."""

    net: str
    batch_size: int
    processes: int
    shares: int
    exchange: str = "pairs"

    def __str__(self) -> str:
        of = f"{self.net}, batch {self.batch_size}, {self.processes} processes, {self.shares} shares"
        return of if self.processes == 1 else f"{of}, {self.exchange}"


CASES = [
    Case("convolution", 256, 1, 1),
    Case("convolution", 256, 1, 4),
    Case("wide", 256, 1, 1),
    Case("wide", 256, 1, 4),
    Case("wide", 64, 1, 4),
    Case("convolution", 256, 2, 2),
    Case("wide", 256, 2, 2),
    Case("wide", 256, 2, 2, "halving"),
    Case("wide", 256, 2, 4),
]


def price(case: Case, turns: int, steps: int) -> tuple[list[float], list[float]]:
    """Seconds a step of each turn, of the ordinary and of the elastic run; the slowest process counts."""
    shares: list[Optional[int]] = [None, case.shares]
    spec = {**case._asdict(), "shares": shares, "turns": turns, "steps": steps, "warmup": _WARMUP}
    ranks = results_of_ranks(str(case), "benchmarks.elastic_training", spec, case.processes)
    ordinary, elastic = ([max(each) for each in zip(*of_ranks)] for of_ranks in zip(*(r["seconds"] for r in ranks)))
    return ordinary, elastic


def row(case: Case, ordinary: Sequence[float], elastic: Sequence[float]) -> str:
    """A line of the table: medians in milliseconds, and the ratio of each pair of turns as median and quartiles."""
    ratios = sorted(more / less for more, less in zip(elastic, ordinary))
    low, _, high = statistics.quantiles(ratios, n=4)
    plain, shared = (statistics.median(each) * 1e3 for each in (ordinary, elastic))
    return f"| {case} | {plain:.1f} | {shared:.1f} | {statistics.median(ratios):.2f} ({low:.2f}-{high:.2f}) |"


def main() -> None:
    """Print the table."""
    turns, steps = [*map(int, sys.argv[1:]), *_DEFAULTS[len(sys.argv) - 1 :]]
    others = OtherWork()
    print("| case | ordinary, ms a step | elastic, ms a step | elastic / ordinary, median (quartiles) |")
    print("|---|---:|---:|---:|")
    for case in CASES:
        print(row(case, *price(case, turns, steps)), flush=True)
    print(f"\n{turns} turns of {steps} steps each; other work on the machine: {others.share:.0%}")


if __name__ == "__main__":
    main()
