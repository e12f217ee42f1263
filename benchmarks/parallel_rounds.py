"""Training with several processes beside one, and beside Paddle's DataParallel: rounds of fresh processes."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.child_process import results_of_ranks
from benchmarks.saving import MIB, Comparison
from benchmarks.stopwatch import OtherWork
from benchmarks.throughput import mnist_folder

BATCH_SIZE = 64
"""Of each process."""
PROCESSES = 2
"""What is exchanged and saved by; training is tried with more as well."""
SIZES = (4, 2, 1)
DIGITS, WIDE = "MNIST", "MLP"
NETS = (DIGITS, WIDE)
"""The digit network, and 784-2520-10 with 2 million parameters, most of whose step is exchange and update."""
WARMUP = 10
STATE_MIB = 64
CALLS = 200
"""How often a round makes each exchange."""
SAVES = 3
"""How often a round saves and restores."""

TRAINER, PLAIN, IN_MEMORY = "trainer", "plain loop", "plain loop, data in memory"
CONTESTANTS = tuple((net, way, size) for net in NETS for size in SIZES for way in (TRAINER, PLAIN, IN_MEMORY))
"""What is trained, by what, and with how many processes."""

AGREE, AVERAGE, GATHER = "agree", "average_gradients", "gather"
ONE_NUMBER, ONE_TENSOR, GATHER_OBJECT = "all_reduce, one number", "all_reduce, one tensor", "all_gather_object"
STALL, PERSIST, RESTORE = "stall", "persist", "restore"


Speeds = Mapping[tuple[str, str, int], Sequence[float]]


@dataclass(frozen=True)
class Parallel:
    """What a run of the benchmark found."""

    rounds: int
    steps: int
    comparisons: list[Comparison]
    machine: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "warmup": WARMUP,
            "batch_size": BATCH_SIZE,
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
        }


def measure(rounds: int, steps: int, tell: Callable[[str], None] = lambda text: None) -> Parallel:
    """Measure everything in each of `rounds` rounds, in an order that rotates; each time in fresh processes.

    `tell` gets a line after each of `units` parts. Raises DataError without MNIST's files, PaddleResumeError when a
    contestant fails.
    """
    data = mnist_folder()
    speeds: dict[tuple[str, str, int], list[float]] = {contestant: [] for contestant in CONTESTANTS}
    exchange: dict[str, list[float]] = {}
    saving: dict[tuple[str, int], list[float]] = {}
    machine: dict[str, Any] = {}
    others = OtherWork()
    for number in range(rounds):
        round_ = f"round {number + 1} of {rounds}"
        first = number % len(CONTESTANTS)
        for net, way, size in (*CONTESTANTS[first:], *CONTESTANTS[:first]):
            result = _train(net, way, size, steps, data)
            machine.update(result.get("environment", {}))
            speeds[net, way, size].append(steps * BATCH_SIZE * size / result["seconds"])
            tell(f"{round_}: {net}, {way}, {_processes(size)}, {speeds[net, way, size][-1]:,.0f} samples/s")
        for name, seconds in _exchange().items():
            exchange.setdefault(name, []).append(seconds)
        tell(f"{round_}: {AGREE}, {exchange[AGREE][-1] * 1e6:,.0f} us")
        for size in (1, PROCESSES) if number % 2 == 0 else (PROCESSES, 1):
            for name, seconds in _saving(size).items():
                saving.setdefault((name, size), []).append(seconds)
            tell(f"{round_}: saving {STATE_MIB} MiB, {_processes(size)}, stall {saving[STALL, size][-1] * 1e3:.1f} ms")
    machine["other_work"] = others.share
    machine["cores"] = psutil.cpu_count(logical=False) or os.cpu_count()
    comparisons = [*compare_speed(speeds), *compare_exchange(exchange, speeds), *compare_saving(saving)]
    return Parallel(rounds, steps, comparisons, machine)


def units(rounds: int) -> int:
    """How many lines `measure` tells."""
    return rounds * (len(CONTESTANTS) + 3)


def compare_speed(speeds: Speeds) -> list[Comparison]:
    """Samples a second side by side, and how many times as fast several processes are as one."""

    def gain(net: str, way: str, size: int) -> list[float]:
        return [several / one for several, one in zip(speeds[net, way, size], speeds[net, way, 1])]

    found = []
    for net in NETS:
        for peer, at_least in ((PLAIN, 1.0), (IN_MEMORY, 0.95)):
            for size in SIZES:
                mine, theirs = list(speeds[net, TRAINER, size]), list(speeds[net, peer, size])
                case = f"{net}, {_processes(size)}"
                found.append(Comparison("speed", case, TRAINER, peer, "samples/s", mine, theirs, at_least=at_least))
    for net in NETS:
        for peer in (PLAIN, IN_MEMORY):
            for size in SIZES[:-1]:
                case, mine, theirs = f"{net}, {size} over 1", gain(net, TRAINER, size), gain(net, peer, size)
                found.append(Comparison("scaling", case, TRAINER, peer, "times", mine, theirs))
    return found


def compare_exchange(seconds: Mapping[str, list[float]], speeds: Speeds) -> list[Comparison]:
    """What the processes exchange, beside Paddle's way to do it, and beside a step of the same round."""
    micro = {name: [value * 1e6 for value in values] for name, values in seconds.items()}
    step = [BATCH_SIZE * PROCESSES / speed * 1e6 for speed in speeds[DIGITS, TRAINER, PROCESSES]]

    def beside(mine: str, peer: str, theirs: list[float], case: str, at_most: float | None = None) -> Comparison:
        return Comparison("exchange", case, mine, peer, "us", micro[mine], theirs, at_most=at_most)

    each, save = "each step", "each save"
    return [
        beside(AGREE, "a step of the trainer", step, each, at_most=0.01),
        beside(AGREE, ONE_NUMBER, micro[ONE_NUMBER], each),
        beside(AVERAGE, "a step of the trainer", step, each),
        beside(AVERAGE, ONE_TENSOR, micro[ONE_TENSOR], each),
        beside(GATHER, GATHER_OBJECT, micro[GATHER_OBJECT], save),
    ]


def compare_saving(seconds: Mapping[tuple[str, int], list[float]]) -> list[Comparison]:
    """Saving and restoring by two processes beside one."""
    case, two, one = f"{STATE_MIB} MiB", _processes(PROCESSES), _processes(1)
    milli = {key: [value * 1e3 for value in values] for key, values in seconds.items()}
    return [
        Comparison("saving", case, f"{name}, {two}", one, "ms", milli[name, PROCESSES], milli[name, 1], at_most=1.3)
        for name in (STALL, PERSIST, RESTORE)
    ]


def _train(net: str, way: str, size: int, steps: int, data: Path) -> dict[str, Any]:
    """The seconds of the process that took longest, and what rank 0 tells of its environment."""
    with tempfile.TemporaryDirectory() as folder:
        spec = {"net": net, "way": way, "warmup": WARMUP, "steps": steps, "data": str(data), "folder": folder}
        ranks = results_of_ranks(way, "benchmarks.parallel_training", spec, size)
    return {**ranks[0], "seconds": max(rank["seconds"] for rank in ranks)}


def _exchange() -> dict[str, float]:
    """Seconds of each exchange; nobody goes on before all have it, so the slowest counts."""
    ranks = results_of_ranks("exchange", "benchmarks.parallel_exchange", {"calls": CALLS}, PROCESSES)
    return {name: max(rank[name] for rank in ranks) for name in ranks[0]}


def _saving(size: int) -> dict[str, float]:
    """Median seconds; the process that took longest counts, and rank 0, which alone writes, for the writing."""
    with tempfile.TemporaryDirectory() as folder:
        spec = {"size": STATE_MIB * MIB, "saves": SAVES, "folder": folder}
        ranks = results_of_ranks("saving", "benchmarks.parallel_saving", spec, size)
    slowest = {name: [max(each) for each in zip(*(rank[name] for rank in ranks))] for name in (STALL, RESTORE)}
    return {name: statistics.median(each) for name, each in {**slowest, PERSIST: ranks[0][PERSIST]}.items()}


def _processes(size: int) -> str:
    return "1 process" if size == 1 else f"{size} processes"
