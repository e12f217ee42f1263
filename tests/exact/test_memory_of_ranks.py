"""Runs of several processes that are killed and go on from shared memory, each node from its own."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paddle
import pytest
from ranks import PROGRAM, run_ranks, start_ranks, wait_for

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.testing import first_differences
from paddle_resume.testing.rank_environment import launcher_environments

LATE = ("--every-steps", 100)
"""The first save on disk is that of the first epoch's end, its 16th step."""
MEMORY = {"PADDLE_RESUME_MEMORY": "1"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    ended = run_ranks(folder, 2, *LATE)
    assert ended.good, ended.explain()
    return folder


def resumed_from(folder: Path) -> list[str]:
    newest = next(found.record for found in find_all(folder / "checkpoint") if found.record)
    return [event["from"] for event in newest.lineage if event["event"] == "resume"]


DEATHS = {
    "rank 1 in a step": (1, 7, "kill", "step"),
    "rank 0 in a step": (0, 7, "kill", "step"),
    "rank 1 in a save": (1, 9, "kill", "save"),
    "rank 0 in a save": (0, 9, "kill", "save"),
    "rank 1 in an evaluation": (1, 16, "kill", "evaluate"),
}


@pytest.mark.parametrize("which", [pytest.param(w, marks=() if "a save" in w else pytest.mark.full) for w in DEATHS])
def test_a_killed_process_costs_a_step(which: str, straight: Path, tmp_path: Path) -> None:
    ended = run_ranks(tmp_path, 2, *LATE, "--doom", *DEATHS[which], **MEMORY)
    assert not ended.good
    again = run_ranks(tmp_path, 2, *LATE, **MEMORY)
    assert again.good, again.explain()
    assert resumed_from(tmp_path) == ["digits_epoch0" if "evaluation" in which else "memory"]
    assert first_differences(straight, tmp_path) == []


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.full)])
def test_all_processes_killed_at_once_at_random(kills: int, straight: Path, tmp_path: Path) -> None:
    draw = random.Random(kills)
    killed, runs, folder = 0, 0, tmp_path / "run0"
    while killed < kills or runs == 0:
        began = time.monotonic()
        processes = start_ranks(folder, 2, *LATE, "--background", **MEMORY)
        if killed < kills:
            while not (folder / "checkpoint" / ".digits.memory").exists() and processes[0].poll() is None:
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 1))
            for process in draw.sample(processes, 2):
                process.kill()
        ended = wait_for(processes, began)
        killed += not ended.good
        if ended.good:
            assert first_differences(straight, folder) == []
            runs, folder = runs + 1, tmp_path / f"run{runs + 1}"


@pytest.mark.full
def test_what_is_forgotten_of_other_ranks_in_memory_shows(straight: Path, tmp_path: Path) -> None:
    assert not run_ranks(tmp_path, 2, *LATE, "--doom", 1, 7, "kill", "step", **MEMORY).good
    assert run_ranks(tmp_path, 2, *LATE, "--forget-ranks", **MEMORY).good
    if paddle.__version__.startswith("2."):
        pytest.skip("Paddle 2.6 seeds its generator for each step anew, so that there is nothing to forget")
    assert first_differences(straight, tmp_path)


class Node:
    """Mounts of its own, with shared memory of its own, that last until it goes down; as a machine's do."""

    def __init__(self) -> None:
        keep = "mount -t tmpfs tmpfs /dev/shm && echo up && exec sleep 600"
        self._keeper = subprocess.Popen(["unshare", "-m", "sh", "-c", keep], stdout=subprocess.PIPE, text=True)
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline().strip() != "up":
            pytest.skip("a file system can be mounted by root alone")

    def start(self, folder: Path, environment: dict[str, str], *options: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAM), *map(str, options)]
        return subprocess.Popen(
            ["nsenter", "-m", "-t", str(self._keeper.pid), "env", "-C", str(folder), *command],
            env={**os.environ, **MEMORY, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def goes_down(self) -> None:
        self._keeper.kill()
        self._keeper.wait()


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    if not shutil.which("nsenter") or os.geteuid():
        pytest.skip("a file system can be mounted by root alone")
    made = [Node(), Node()]
    yield made
    for node in made:
        node.goes_down()


@pytest.mark.full
@pytest.mark.parametrize("lost", [None, 0, 1], ids=["both are left", "the first is lost", "the second is lost"])
def test_each_node_goes_on_from_its_own_memory_if_both_have_the_step(
    lost: int | None, nodes: list[Node], straight: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"

    def run(*options: object) -> list[int]:
        folder.mkdir(exist_ok=True)
        environments = launcher_environments(2, 0)
        ran = [node.start(folder, each, *LATE, *options) for node, each in zip(nodes, environments)]
        return [process.wait(120) for process in ran if process.communicate(timeout=120)]

    assert any(run("--doom", 1, 7, "kill", "step"))
    if lost is not None:
        nodes[lost].goes_down()
        nodes[lost] = Node()
    assert run() == [0, 0]
    # Without the memory of one of them there is nothing, since nothing was saved on disk yet.
    assert resumed_from(folder) == ([] if lost is not None else ["memory"])
    assert first_differences(straight, folder) == []
