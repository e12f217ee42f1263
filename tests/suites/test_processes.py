"""A program that Paddle's launcher starts in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import paddle
import pytest
from wrapping import PROGRAMS, differences, variables

from paddle_resume.loggers.visualdl import read_values

pytestmark = pytest.mark.skipif(
    paddle.__version__.startswith("2."), reason="Paddle 2.6 does not give its CPU generator away"
)
_LAUNCH = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "logs"]


def run(command: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    """The exit code, and what rank 0 said."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables(**environment)}, capture_output=True, text=True, timeout=300
    )
    logs = sorted((folder / "logs").glob("workerlog.*"))
    said = "".join(log.read_text(errors="replace") for log in logs)
    for log in logs:
        log.unlink()
    return done.returncode, done.stdout + done.stderr + said


def curves(folder: Path) -> list[Any]:
    """Those of all processes, in whatever order and into however many files they were written."""
    return sorted(value for path in folder.rglob("vdlrecords*") for value in read_values(path))


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("in_processes", True),
        pytest.param("in_processes", False, marks=pytest.mark.full),
        pytest.param("by_fleet", False, marks=pytest.mark.full),
    ],
)
def test_a_process_that_is_killed_and_a_stop_change_nothing(name: str, memory: bool, tmp_path: Path) -> None:
    program = str(PROGRAMS / f"{name}.py")
    code, said = run([sys.executable, *_LAUNCH, program], tmp_path, OUT="straight")
    assert code == 0, said
    every = "100" if memory else "2"
    wrap = [sys.executable, "-m", "paddle_resume", "wrap", "--auto", "--every-steps", every, "--"]
    command = [*wrap, sys.executable, *_LAUNCH, program]
    in_memory = {"PADDLE_RESUME_MEMORY": "1"} if memory else {}
    code, said = run(command, tmp_path, OUT="wrapped", DIE="4:SIGKILL", DIE_RANK="1", **in_memory)
    assert code != 0 and "rank 1: it is gone without a word" in said, said
    code, said = run(command, tmp_path, OUT="wrapped", DIE="6:SIGTERM", DIE_RANK="1", **in_memory)
    assert code == 143 and f"Resumed from {'memory' if memory else ''}" in said, said
    assert "Stopped after 6 batches" in said, said
    code, said = run(command, tmp_path, OUT="wrapped")
    assert code == 0 and "Resumed from" in said, said
    straight, wrapped = tmp_path / "straight", tmp_path / "wrapped"
    assert {path.name for path in wrapped.glob("*.pdparams")} == {"rank_0.pdparams", "rank_1.pdparams"}
    assert [each for each in differences(straight, wrapped) if each != "curves"] == []
    assert curves(straight) == curves(wrapped)
