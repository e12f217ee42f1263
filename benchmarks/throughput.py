"""Training throughput side by side: rounds of fresh processes, in each round every contestant once."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import psutil

from benchmarks.child_process import bare_environment
from paddle_resume.environment import MATH_VARIABLES as MATH_VARIABLES
from paddle_resume.errors import DataError, PaddleResumeError

BATCH_SIZE = 32
WARMUP = 30
SHARE_TARGET = 2.0
"""At most this many percent of a step are the trainer's own."""

_HERE = Path(__file__).resolve().parent
_OWN = ("-m", "benchmarks.trainer_contestant")
_PLAIN = (str(_HERE / "plain_loops.py"),)
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Contestant:
    """One of those compared: a child process of its own in each round."""

    name: str
    command: tuple[str, ...]
    prepared: bool = False
    """Whether it is given the CPU set-up of the trainer; else nothing is set, as on a user's machine."""
    target: Optional[float] = None
    """The trainer should be at least this many times as fast."""


TRAINER = Contestant("trainer", (*_OWN, "train"))
PEERS = (
    Contestant("plain loop, default environment", (*_PLAIN, "plain"), target=1.5),
    Contestant("plain loop, same environment", (*_PLAIN, "plain"), prepared=True, target=1.0),
    Contestant("paddle.Model.fit, same environment", (*_PLAIN, "fit"), prepared=True, target=1.2),
)
CONTESTANTS = (TRAINER, *PEERS)


@dataclass(frozen=True)
class Throughput:
    """What a run of the benchmark found."""

    steps: int
    warmup: int
    samples_per_second: dict[str, list[float]]
    """By contestant, one value a round."""
    share: dict[str, Any]
    """See `trainer_contestant.time_share`."""
    machine: dict[str, Any]

    @property
    def rounds(self) -> int:
        return len(self.samples_per_second[TRAINER.name])

    def ratios(self, peer: Contestant) -> list[float]:
        """Round by round, how many times as fast as `peer` the trainer was.

        Both ran within the same round, so a machine that is slower for a while slows both.
        """
        mine, theirs = self.samples_per_second[TRAINER.name], self.samples_per_second[peer.name]
        return [a / b for a, b in zip(mine, theirs)]

    def to_dict(self) -> dict[str, Any]:
        ratios = {peer.name: self.ratios(peer) for peer in PEERS}
        return {
            "machine": self.machine,
            "rounds": self.rounds,
            "steps": self.steps,
            "warmup": self.warmup,
            "batch_size": BATCH_SIZE,
            "samples_per_second": self.samples_per_second,
            "trainer_ratio": ratios,
            "median_ratio": {name: statistics.median(values) for name, values in ratios.items()},
            "target_ratio": {peer.name: peer.target for peer in PEERS},
            "share_of_a_step_in_percent": self.share,
        }


def measure(
    rounds: int,
    steps: int,
    warmup: int = WARMUP,
    tell: Callable[[str], None] = lambda text: None,
) -> Throughput:
    """Time every contestant in each of `rounds` rounds, in an order that rotates, then the trainer's share.

    Each is a fresh process, because Paddle reads the environment once, when it is imported. `tell` gets a line
    after each of them. Raises DataError without MNIST's files, PaddleResumeError when a contestant fails.
    """
    data = mnist_folder()
    bare = bare_environment()
    prepared = {**bare, **_chosen_by_the_package(bare)}
    found: dict[str, list[float]] = {contestant.name: [] for contestant in CONTESTANTS}
    for number in range(rounds):
        first = number % len(CONTESTANTS)
        for contestant in (*CONTESTANTS[first:], *CONTESTANTS[:first]):
            environment = prepared if contestant.prepared else bare
            seconds = _run(contestant.name, contestant.command, (warmup, steps), data, environment)["seconds"]
            speed = steps * BATCH_SIZE / seconds
            found[contestant.name].append(speed)
            tell(f"round {number + 1} of {rounds}: {contestant.name}, {speed:,.0f} samples/s")
    share = _run("the trainer's share", (*_OWN, "share"), (warmup, 2 * steps), data, bare)
    tell(f"the trainer's share of a step: {share['own']['median']:.2f} %")
    machine = {**share.pop("environment"), "cores": psutil.cpu_count(logical=False) or os.cpu_count()}
    return Throughput(steps, warmup, found, share, machine)


def processes(rounds: int) -> int:
    """How many lines `measure` tells."""
    return rounds * len(CONTESTANTS) + 1


def mnist_folder() -> Path:
    """The folder of MNIST's gzipped files that all contestants read; raises DataError if there is none."""
    given = os.environ.get("PADDLE_RESUME_DATA")
    folder = Path(given) / "mnist" if given else Path.home() / ".cache" / "paddle" / "dataset" / "mnist"
    missing = [
        name
        for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        if not (folder / (name := f"{stem}-ubyte.gz")).is_file()
    ]
    if missing:
        raise DataError(
            f"{folder} lacks {', '.join(missing)}, and the benchmark needs the real MNIST. Set $PADDLE_RESUME_DATA "
            "to a folder with mnist/*.gz in it, or let `python tools/train.py -c configs/mnist.yaml` download them."
        )
    return folder


def _run(
    name: str, command: tuple[str, ...], counts: tuple[int, int], data: Path, environment: dict[str, str]
) -> dict[str, Any]:
    """The result that one child process leaves; its output goes nowhere unless it fails."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        arguments = [*command, *map(str, counts), str(data), str(result)]
        try:
            child = subprocess.run(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise PaddleResumeError(
                f"{name} did not end within {_TIMEOUT_S} s; try again with fewer --steps."
            ) from error
        if child.returncode or not result.exists():
            raise PaddleResumeError(
                f"{name} ended with exit code {child.returncode} and without a result. The end of its output:\n"
                f"{(child.stdout + child.stderr)[-2000:]}"
            )
        return json.loads(result.read_text(encoding="utf-8"))


def _chosen_by_the_package(environment: dict[str, str]) -> dict[str, str]:
    """The variables that importing paddle_resume sets, in a process where nothing is set yet."""
    code = "import json, os, paddle_resume; print(json.dumps(dict(os.environ)))"
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    chosen = json.loads(child.stdout.splitlines()[-1])
    return {name: chosen[name] for name in MATH_VARIABLES if name in chosen}
