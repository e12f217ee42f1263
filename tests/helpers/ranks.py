"""Starts the processes of a distributed run for tests: by Paddle's launcher, or each by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import forking
from places import PROGRAMS

from paddle_resume.testing.rank_environment import launcher_environments

PROGRAM = PROGRAMS / "train_ranks.py"


@dataclass
class Ended:
    """How the processes of a run ended, by rank."""

    statuses: list[int]
    outputs: list[str]
    seconds: float

    @property
    def good(self) -> bool:
        return not any(self.statuses)

    def explain(self) -> str:
        return "\n".join(f"rank {r}: {s}\n{o}" for r, (s, o) in enumerate(zip(self.statuses, self.outputs)))


def start_ranks(
    folder: Path,
    ranks: int,
    *options: object,
    program: Path = PROGRAM,
    master: int = 0,
    absent: int = -1,
    **variables: str,
) -> list[forking.Started]:
    """The processes, with the environment that Paddle's launcher gives them; its own checks take seconds more.

    `master` is a port to use in place of a free one, `absent` a rank that is not started.
    """
    folder.mkdir(exist_ok=True)
    return [
        forking.start([program, *options], folder, merged=True, OMP_NUM_THREADS="1", **environment, **variables)
        for rank, environment in enumerate(launcher_environments(ranks, master))
        if rank != absent
    ]


def run_ranks(folder: Path, ranks: int, *options: object, timeout: float = 120, **variables: str) -> Ended:
    """Run PROGRAM in `folder` with so many processes until all have ended."""
    began = time.monotonic()
    return wait_for(start_ranks(folder, ranks, *options, **variables), began, timeout)


def wait_for(processes: list[forking.Started], began: float, timeout: float = 120) -> Ended:
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return Ended([process.wait() for process in processes], outputs, time.monotonic() - began)


def launch(
    folder: Path,
    *command: object,
    launcher: tuple[str, ...] = ("--nproc_per_node", "2"),
    within: tuple[str, ...] = (),
    **variables: str,
) -> subprocess.Popen:
    """The command line under Paddle's launcher, in a process group of its own; `within` is a command around it."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [
            *within,
            sys.executable,
            "-m",
            "paddle.distributed.launch",
            "--log_dir",
            "worker_log",
            *launcher,
            *map(str, command),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )
