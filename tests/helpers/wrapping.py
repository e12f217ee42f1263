"""Runs the small suites in helpers/programs/wrapped, straight and wrapped, and compares all that they have written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forking

from paddle_resume.loggers.visualdl import read_values

PROGRAMS = Path(__file__).parent / "programs" / "wrapped"
_OF_PROGRAMS = ("OUT", "DIE", "DIE_RANK", "WORKERS", "SEED")
_SECONDS = 60
_INTERRUPTED = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}


def variables(**environment: str) -> dict[str, str]:
    """Those that the programs read get the prefix with which they are known to be read late: so they can be forked."""
    return {f"PADDLE_RESUME_{name}" if name in _OF_PROGRAMS else name: value for name, value in environment.items()}


def straight(folder: Path, name: str, *arguments: str, **environment: str) -> Path:
    """Run a program as it is; returns the folder of its outputs."""
    done = forking.run([PROGRAMS / f"{name}.py", *arguments], folder, **variables(OUT="straight", **environment))
    assert done.returncode == 0, done.stderr
    return folder / "straight"


def wrap(folder: Path, name: str, *arguments: str, options: tuple[str, ...] = (), **environment: str) -> Any:
    """Run it wrapped, once; what was told of it is added to `told.txt`."""
    done = forking.run([*_wrapped(name, options), *arguments], folder, **variables(OUT="wrapped", **environment))
    with (folder / "told.txt").open("a") as told:
        told.write(done.stderr)
    return done


def wrap_anew(folder: Path, name: str, *arguments: str, **environment: str) -> Any:
    """The same in a Python process that starts from nothing."""
    command = [sys.executable, *map(str, _wrapped(name, ())), *arguments]
    given = {**os.environ, **variables(OUT="wrapped", **environment)}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def held(folder: Path, name: str, step: int = 7) -> Iterator[forking.Started]:
    """Run it wrapped, and have it stand still after this step; it is killed at the end of the block."""
    process = forking.start(_wrapped(name, ()), folder, **variables(OUT="wrapped", DIE=f"{step}:SIGSTOP"))
    try:
        deadline = time.monotonic() + _SECONDS
        while "T" not in _standing(process.pid) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.communicate(_SECONDS)


def _wrapped(name: str, options: Sequence[str]) -> list[object]:
    return ["-m", "paddle_resume.wrap", "--auto", "--every-steps", "3", *options, "--", PROGRAMS / f"{name}.py"]


def _standing(pid: int) -> str:
    """Whether Linux says that the process runs, sleeps, or was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def through(folder: Path, name: str, *interruptions: str, arguments: Sequence[str] = (), **environment: str) -> Path:
    """Run it wrapped through interruptions such as `5:SIGKILL` to its end; returns the folder of its outputs."""
    for each in interruptions:
        done = wrap(folder, name, *arguments, DIE=each, **environment)
        assert done.returncode == _INTERRUPTED[each.partition(":")[2]], done.stderr
    done = wrap(folder, name, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert "Resumed from" in done.stderr or not interruptions, done.stderr
    return folder / "wrapped"


def differences(one: Path, other: Path) -> list[str]:
    """The outputs that are not the same, byte by byte; of curves all but the times."""
    names = {path.relative_to(root) for root in (one, other) for path in root.rglob("*") if path.is_file()}
    found = []
    for name in sorted(names):
        is_ours = name.name.startswith(".") or "vdlrecords" in name.name
        if not is_ours and _bytes(one / name) != _bytes(other / name):
            found.append(str(name))
    if _curves(one) != _curves(other) or not _curves(one):
        found.append("curves")
    return found


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _curves(folder: Path) -> list[Any]:
    files = [path for path in sorted(folder.rglob("*")) if re.search("vdlrecords", path.name)]
    return [value for path in files for value in read_values(path)]
