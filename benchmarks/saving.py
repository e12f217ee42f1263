"""What saving and resuming cost, side by side with what they are made of and with `paddle.save`."""

from __future__ import annotations

import os
import select
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import psutil

from benchmarks import torch_peer
from benchmarks.child_process import Child, child, result_of
from benchmarks.verdict import verdict

MIB = 1 << 20
WARMUP = 30
SMALL_PRINT_MIB = 8
"""What the memory of a save may have beyond one copy of the state, for indexes and libraries."""

BATCH_SIZE = 32
EVERY_STEPS = 10
"""Training makes this many steps from one save to the next."""
NO_SAVES, BACKGROUND, INLINE, PADDLE_SAVE = "no saves", "saves behind training", "saves in line", "paddle.save"
WAYS = (NO_SAVES, BACKGROUND, INLINE, PADDLE_SAVE)

# How many times the state's size: tensors, snapshot, two buffers of the peers, what paddle.save and paddle.load add.
_MEMORY_COPIES, _MEMORY_REST = 7, 1024 * MIB
# Two checkpoints, paddle.save's files or the raw one, and as much again to leave the disk alone.
_DISK_COPIES, _DISK_REST = 4, 256 * MIB
_LARGE = 512  # MiB: from there on a save is to take no more than the copy
_EPOCH_STEPS = 1000
_SAMPLE_SECONDS = 0.002


@dataclass(frozen=True)
class Comparison:
    """One contestant beside one peer, round by round; the target is for the ratio, contestant over peer."""

    part: str
    case: str
    mine: str
    peer: str
    unit: str
    values: list[float]
    peer_values: list[float]
    at_least: Optional[float] = None
    at_most: Optional[float] = None

    @property
    def ratios(self) -> list[float]:
        """Both ran within the same round, so a machine that is slower for a while slows both."""
        return [a / b for a, b in zip(self.values, self.peer_values)]

    @property
    def verdict(self) -> str:
        """Whether each round's ratio is within the target; see `verdict`."""
        return verdict(self.ratios, self.at_least, self.at_most)

    def to_dict(self) -> dict[str, Any]:
        ratios = self.ratios
        return {**asdict(self), "ratios": ratios, "median_ratio": statistics.median(ratios), "met": self.verdict}


@dataclass(frozen=True)
class Saving:
    """What a run of the benchmark found."""

    sizes: list[int]
    """In MiB, as asked for."""
    rounds: int
    steps: int
    comparisons: list[Comparison]
    machine: dict[str, Any]
    skipped: list[str] = field(default_factory=list)
    """Sizes that were left out, and why."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "comparisons": [comparison.to_dict() for comparison in self.comparisons]}


def measure(
    sizes: Sequence[int],
    rounds: int,
    steps: int = 200,
    folder: Optional[Path] = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Saving:
    """Measure states of `sizes` MiB, training with saves, and starts, with files in `folder` (default: temporary).

    `tell` gets a line after each of `units` parts. Raises PaddleResumeError when a contestant fails.
    """
    comparisons: list[Comparison] = []
    skipped: list[str] = []
    machine: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        disk = Path(scratch)
        for size in sizes:
            reason = _too_large(size, disk)
            if reason:
                skipped.append(f"{size} MiB: {reason}")
                for _ in range(rounds + 2):
                    tell(f"{size} MiB is left out: {reason}")
                continue
            times = _times(size, rounds, disk, tell)
            machine = times["environment"]
            seconds = times["seconds"]
            if torch_peer.is_available():
                scratch_folder = _fresh(disk)
                spec = {"size": size * MIB, "rounds": rounds, "folder": scratch_folder}
                seconds.update(result_of("torch", "benchmarks.torch_peer", spec)["seconds"])
                shutil.rmtree(scratch_folder)
            comparisons += compare_times(size, times["bytes"], seconds)
            comparisons += [_memory(part, size, disk, tell) for part in ("save memory", "restore memory")]
        comparisons += _interference(rounds, steps, disk, tell)
        comparisons.append(_resume_start(rounds, disk, tell))
        machine = {
            **(machine or result_of("the environment", "benchmarks.large_state", {"part": "environment"})),
            "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
            "disk": _file_system(disk),
        }
    return Saving(list(sizes), rounds, steps, comparisons, machine, skipped)


def units(sizes: Sequence[int], rounds: int) -> int:
    """How many lines `measure` tells."""
    return len(sizes) * (rounds + 2) + rounds * len(WAYS) + 2 * rounds


def compare_times(size: int, state: int, seconds: dict[str, list[float]]) -> list[Comparison]:
    """The comparisons of one size, from the seconds of each contestant; `state` is its exact size in bytes."""
    case = f"{size} MiB"

    def milliseconds(name: str) -> list[float]:
        return [value * 1e3 for value in seconds[name]]

    def speed(name: str) -> list[float]:
        return [state / MIB / value for value in seconds[name]]

    def beside(part: str, mine: str, peer: str, label: str, at_most: Optional[float] = None) -> Comparison:
        return Comparison(part, case, label, peer, "ms", milliseconds(mine), milliseconds(peer), at_most=at_most)

    return [
        beside("stall", "stall", "copyto", "save", at_most=1.3 if size < _LARGE else 1.1),
        beside("stall", "stall", "paddle.save", "save", at_most=1 / 30),
        *[
            beside("stall", "stall", peer, "save")
            for peer in (torch_peer.SAVE, torch_peer.ASYNC_SAVE)
            if peer in seconds
        ],
        beside("stall", "first stall", "first copyto", "first save"),
        Comparison(
            "persist", case, "persist", "raw write", "MiB/s", speed("persist"), speed("raw write"), at_least=0.9
        ),
        beside("restore", "restore", "read and digest", "restore", at_most=1.3),
        beside("restore", "restore", "paddle.load", "restore"),
    ]


def _times(size: int, rounds: int, disk: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    spec: dict[str, Any] = {"part": "times", "size": size * MIB, "rounds": rounds, "folder": _fresh(disk)}
    message: dict[str, Any] = {}
    with child(f"saving {size} MiB", "benchmarks.large_state", spec) as running:
        for message in running:
            if "round" in message:
                tell(f"{size} MiB: round {message['round']} of {rounds}")
    shutil.rmtree(spec["folder"])
    return message


def _memory(part: str, size: int, disk: Path, tell: Callable[[str], None]) -> Comparison:
    """Once is enough: it does not depend on what else the machine does."""
    spec: dict[str, Any] = {"part": part, "size": size * MIB, "folder": _fresh(disk)}
    state = peak = baseline = 0
    with child(f"{part} of {size} MiB", "benchmarks.large_state", spec) as running:
        for message in running:
            if "bytes" in message:
                state = message["bytes"]
                baseline = _held(running)
                running.answer()
                peak = _peak(running)
            else:
                running.answer()
    shutil.rmtree(spec["folder"])
    values, own = [(peak - baseline) / MIB], [state / MIB]
    tell(f"{size} MiB: {part} {values[0]:,.0f} MiB")
    doing = part.split()[0]
    return Comparison(
        "memory", f"{size} MiB", doing, "one copy of the state", "MiB", values, own,
        at_most=1 + SMALL_PRINT_MIB / own[0],
    )  # fmt: skip


def _interference(rounds: int, steps: int, disk: Path, tell: Callable[[str], None]) -> list[Comparison]:
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds):
        first = number % len(WAYS)
        for way in (*WAYS[first:], *WAYS[:first]):
            spec: dict[str, Any] = {"way": way, "warmup": WARMUP, "steps": steps, "folder": _fresh(disk)}
            found = result_of(way, "benchmarks.interference", spec)
            shutil.rmtree(spec["folder"])
            speeds[way].append(steps * BATCH_SIZE / found["seconds"])
            tell(f"training, round {number + 1} of {rounds}: {way}, {speeds[way][-1]:,.0f} samples/s")
    return [
        Comparison(
            "training", "MNIST", way, NO_SAVES, "samples/s", speeds[way], speeds[NO_SAVES],
            at_least=0.97 if way == BACKGROUND else None,
        )
        for way in WAYS[1:]
    ]  # fmt: skip


def _resume_start(rounds: int, disk: Path, tell: Callable[[str], None]) -> Comparison:
    seconds: dict[int, list[float]] = {1: [], 99: []}
    folders = {percent: _fresh(disk) for percent in seconds}
    runs = [(_EPOCH_STEPS * percent // 100, path) for percent, path in folders.items()]
    with child("the run to resume", "benchmarks.resume_start", {"part": "train", "steps": _EPOCH_STEPS, "runs": runs}):
        pass
    for number in range(rounds):
        for percent in (1, 99) if number % 2 == 0 else (99, 1):
            begun = time.time()
            found = result_of(
                "resuming",
                "benchmarks.resume_start",
                {"part": "resume", "steps": _EPOCH_STEPS, "folder": folders[percent]},
            )
            assert found["step"] == _EPOCH_STEPS * percent // 100 + 1, found
            seconds[percent].append(found["first_step_at"] - begun)
            tell(f"resuming at {percent} %, round {number + 1} of {rounds}: {seconds[percent][-1]:.2f} s")
    return Comparison(
        "start", "2 workers", "resume at 99 %", "resume at 1 %", "s", seconds[99], seconds[1], at_least=0.9, at_most=1.1
    )


def _too_large(size: int, disk: Path) -> Optional[str]:
    """Why a state of `size` MiB cannot be measured here, or None."""
    needs = {
        "memory": (size * MIB * _MEMORY_COPIES + _MEMORY_REST, psutil.virtual_memory().available),
        f"space in {disk.parent}": (size * MIB * _DISK_COPIES + _DISK_REST, shutil.disk_usage(disk).free),
    }
    for what, (needed, free) in needs.items():
        if needed > free:
            return f"it needs {needed // MIB:,} MiB of {what}, and {free // MIB:,} are free"
    return None


def _fresh(disk: Path) -> str:
    return tempfile.mkdtemp(dir=disk)


def _peak(running: Child) -> int:
    """The most that the child and its children hold until it reports again."""
    peak = 0
    assert running.process.stdout is not None
    while not select.select([running.process.stdout], [], [], _SAMPLE_SECONDS)[0]:
        peak = max(peak, _held(running))
    return peak


def _held(running: Child) -> int:
    """Bytes of memory of the child and its children; the snapshot that they share counts once, as the child's.

    Adding up their Pss would be wrong while one of them maps the snapshot page by page: a page moves from whole to
    half between reading the one and the other.
    """
    process = psutil.Process(running.process.pid)
    pids = (process.pid, *(p.pid for p in process.children(recursive=True)))
    return sum(_status(pid, "RssAnon") for pid in pids) + _status(process.pid, "RssShmem")


def _status(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0  # It has just ended.


def _file_system(folder: Path) -> str:
    mounts = [p for p in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"
