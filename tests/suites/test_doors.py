"""The ways to start a wrapped program: each hands on the same options and the same command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wrapping import PROGRAMS, differences, straight, variables

DOORS = {
    "module": [sys.executable, "-m", "paddle_resume", "wrap"],
    "module of the command": [sys.executable, "-m", "paddle_resume.wrap"],
    "in another language": [sys.executable, "-m", "paddle_resume", "--lang", "zh", "wrap"],
}


@pytest.mark.parametrize("door", DOORS)
def test_python_that_is_typed_before_the_script_is_the_one_that_runs_it(door: str, tmp_path: Path) -> None:
    whole = straight(tmp_path, "top_level")
    options = ["--auto", "--every-steps", "3", "--name", "named", "--save-dir", "kept"]
    command = [*DOORS[door], *options, "--", sys.executable, PROGRAMS / "top_level.py"]
    environment = {**os.environ, **variables(OUT="wrapped")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert differences(whole, tmp_path / "wrapped") == []
    assert list((tmp_path / "kept").glob("named_step*.pdstates"))
    assert ("不属于" in done.stderr) == ("zh" in DOORS[door]), done.stderr


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [*DOORS["module"], "--", "python2.9", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: python2.9 cannot be started: No such file or directory.\n"
