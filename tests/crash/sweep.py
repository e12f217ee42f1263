"""The side of the proof: gives orders to lives, under strace or not, and strikes at every call of a save in turn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crash.lives import AIM, IDLE

CALLS = tuple(call for call in IDLE if call not in ("fcntl", "ftruncate"))
TESTS = Path(__file__).resolve().parent.parent


def environment() -> dict[str, str]:
    """Lives find the tests and the package, use one thread, and leave no bytecode half written."""
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: a kill does not reach what the kernel holds, and here its fsync costs nothing."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


def require_strace() -> None:
    """Skip where processes cannot be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed, so no process can be struck at a chosen system call")
    works = subprocess.run(["strace", "-qq", "-f", "-o", os.devnull, "true"], capture_output=True)
    if works.returncode:
        pytest.skip(f"strace may not trace here: {works.stderr.decode().strip()[-200:]}")


class Lives:
    """Processes that live one after the other, each by an order; with `strike`, under strace.

    `strike` is what befalls the chosen call, in strace's words: `signal=KILL`, `error=EIO`.
    """

    def __init__(self, folder: Path, strike: str = "", calls: tuple[str, ...] = CALLS) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = folder / f"strace{len(list(folder.glob('strace*')))}"
        with theirs:
            command = [sys.executable, "-m", "crash.lives", "serve", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment())
        ours.settimeout(120)
        self._socket = ours
        self._read = 0
        pid = json.loads(ours.recv(1 << 16))["pid"]
        self._tracer = self._trace(pid, strike, calls) if strike else None

    def _trace(self, pid: int, strike: str, calls: tuple[str, ...]) -> subprocess.Popen[bytes]:
        """Attach once all is imported, so that the calls of the imports do not count."""
        # Not with --seccomp-bpf: strace 6.1 then never delivers a signal.
        command = ["strace", "-f", "-qq", "-o", str(self._log), "-e", f"trace={','.join(calls)}"]
        for call in calls:
            command += ["-e", f"inject={call}:{strike}:when={AIM}"]
        tracer = subprocess.Popen([*command, "-p", str(pid)])
        end = time.monotonic() + 20
        while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
            assert tracer.poll() is None and time.monotonic() < end, "strace did not attach"
            time.sleep(0.005)
        return tracer

    def __enter__(self) -> Lives:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()
        if self._tracer:
            self._tracer.wait()

    def live(self, **order: Any) -> dict[str, Any]:
        """What the life told, with its `pid` and whether it was `killed`."""
        self._socket.send(json.dumps({"who": "nobody", **order}).encode())
        told: dict[str, Any] = {}
        while "status" not in told:
            message = self._socket.recv(1 << 20)
            assert message, "the process that forks the lives has died"
            told.update(json.loads(message))
        told["killed"] = os.WIFSIGNALED(told["status"]) and os.WTERMSIG(told["status"]) == signal.SIGKILL
        return told

    def struck(self) -> str | None:
        """The line of the log that tells which call an error befell since this was last asked for, or None."""
        text = self._log.read_text(errors="replace")
        new, self._read = text[self._read :], len(text)
        return next((line for line in new.splitlines() if line.endswith("(INJECTED)")), None)


@dataclass(frozen=True)
class Scene:
    """A folder as it was, and what is then done in it."""

    name: str
    before: int | None
    """The newest step before."""
    new: int
    """The step that is saved."""
    order: dict[str, Any]
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """The orders that make the folder."""

    @property
    def outcomes(self) -> list[int | None]:
        return [self.before, self.new]

    def prepare(self, lives: Lives, folder: Path) -> Path:
        """Make the folder as it was."""
        start = folder / f"start {self.name}"
        if start.exists():
            return start
        if self.earlier:
            start.mkdir(parents=True)
        for order in self.earlier:
            told = lives.live(folder=str(start), **order)
            assert told.get("saved"), told
        return start


def saving(step: int, **more: Any) -> dict[str, Any]:
    """The order to save this step."""
    return {"act": "save", "step": step, **more}


SCENES = {
    scene.name: scene
    for scene in (
        Scene("first", None, 1, saving(1)),
        Scene("new", 1, 2, saving(2), [saving(1)]),
        Scene("over", 1, 2, saving(2, tag="epoch0"), [saving(1, tag="epoch0")]),
        Scene("prune", 2, 3, saving(3, keep=1), [saving(1), saving(2)]),
    )
}


def copy(start: Path, folder: Path) -> Path:
    """A copy of the folder to do harm in; none if there is nothing yet."""
    if start.exists():
        shutil.copytree(start, folder)
    return folder
