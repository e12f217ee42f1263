"""Starts `tools/run.py` as a real process, and looks at what the program under it has left."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from places import PROGRAMS, ROOT

BEATING = [sys.executable, str(PROGRAMS / "beating.py")]
RUN = [sys.executable, str(ROOT / "tools" / "run.py"), "--pause", "0.1"]


def run(folder: Path, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `tools/run.py` to its end."""
    return subprocess.run([*RUN, *arguments], cwd=folder, capture_output=True, text=True, timeout=seconds)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `tools/run.py`; its stderr can be read."""
    return subprocess.Popen([*RUN, *arguments], cwd=folder, stderr=subprocess.PIPE, text=True)


def starts(folder: Path, rank: int = 0) -> list[int]:
    """The pids of all starts of that rank."""
    lines = (folder / "starts").read_text().splitlines() if (folder / "starts").exists() else []
    return [int(line.split()[0]) for line in lines if line.split()[1] == str(rank)]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for `condition`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.02)


def all_are_gone(folder: Path) -> bool:
    """Whether no process that left its pid in `starts` lives any more."""
    pids = [int(line.split()[0]) for line in (folder / "starts").read_text().splitlines()]
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)
