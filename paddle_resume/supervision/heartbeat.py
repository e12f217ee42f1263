"""The sign of life that each rank of a supervised run leaves in a file: how far it is, and since when."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import mmap
import os
import signal
import socket
import struct
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Optional

from paddle_resume.storage.durable_files import temporary

FOLDER_VARIABLE = "PADDLE_RESUME_HEARTBEAT"
"""The environment variable that names the folder of the heartbeats; set by `tools/run.py`."""
STACK_SIGNAL = signal.SIGUSR2
"""Makes a rank write its Python stacks. Not SIGUSR1, with which clusters announce the end of a job's time."""
_EVERY_SECONDS = 1.0
_STEP = struct.Struct("<q")


@dataclass(frozen=True)
class Beat:
    """One sign of life: steps made so far, what the rank does now, and who and when it was (Unix time)."""

    rank: int
    step: int
    phase: str
    pid: int
    host: str
    time: float


class Heartbeat:
    """Writes the heartbeat of one rank; without a folder it does nothing.

    It may be called at each step: the file is replaced as a whole when the phase changes, and otherwise about once a
    second. Only the step is kept up to date each time, in a few bytes of shared memory, so that the very step is known
    also of a rank that was killed. None of it is made durable: it need not outlive the machine.
    """

    def __init__(self, folder: Optional[Path], rank: int = 0, every: float = _EVERY_SECONDS) -> None:
        """`every` is the number of seconds between two writes."""
        self._path: Optional[Path] = None
        self._rank = rank
        self._every = every
        self._due = 0.0
        self._phase = ""
        self._pid, self._host = os.getpid(), socket.gethostname()
        if folder is not None:
            with contextlib.suppress(OSError):  # The training is worth more than the word of it.
                self._exact_step = _map_step(step_path(folder, rank))
                self._path = beat_path(folder, rank)

    @classmethod
    def from_environment(cls, rank: Optional[int] = None) -> Heartbeat:
        """The heartbeat of this process, written where PADDLE_RESUME_HEARTBEAT says; without it, one of no effect.

        `rank` is by default that of Paddle's launcher, or 0. From here on the supervisor can ask this process for
        its stacks, unless the program has a use of its own for SIGUSR2.
        """
        folder = os.environ.get(FOLDER_VARIABLE)
        if not folder:
            return cls(None)
        rank = int(os.environ.get("PADDLE_TRAINER_ID", "0")) if rank is None else rank
        heart = cls(Path(folder), rank)
        _offer_stacks(stack_path(Path(folder), rank))
        return heart

    def beat(self, step: int, phase: str) -> None:
        """This rank lives: `step` steps are made, and it is about to do `phase`. Never raises."""
        if self._path is None:
            return
        _STEP.pack_into(self._exact_step, 0, step)
        now = time.monotonic()
        if now >= self._due or phase != self._phase:
            self._phase, self._due = phase, now + self._every
            beat = Beat(self._rank, step, phase, self._pid, self._host, time.time())
            with contextlib.suppress(OSError):
                target = temporary(self._path)
                target.write_text(json.dumps(asdict(beat)), encoding="utf-8")
                target.replace(self._path)


def beat_path(folder: Path, rank: int) -> Path:
    """The file with the heartbeat of `rank`."""
    return folder / f"rank{rank}"


def step_path(folder: Path, rank: int) -> Path:
    """The file with the step of the last beat of `rank`, as a little-endian int64."""
    return folder / f"rank{rank}.step"


def stack_path(folder: Path, rank: int) -> Path:
    """The file into which `rank` writes its stacks when it gets STACK_SIGNAL; it is there if the rank would."""
    return folder / f"rank{rank}.stack"


def read_beats(folder: Path) -> list[Beat]:
    """The newest heartbeat of each rank in `folder`, by rank."""
    beats = []
    for path in folder.glob("rank*[0-9]"):
        with contextlib.suppress(OSError, ValueError, TypeError, struct.error):
            beat = Beat(**json.loads(path.read_text(encoding="utf-8")))
            beats.append(replace(beat, step=_STEP.unpack(step_path(folder, beat.rank).read_bytes())[0]))
    return sorted(beats, key=lambda beat: beat.rank)


def _map_step(path: Path) -> mmap.mmap:
    with path.open("w+b") as file:
        file.write(_STEP.pack(0))  # Written, not only mapped: a full disk is met here, and not as SIGBUS in a step.
        file.flush()
        return mmap.mmap(file.fileno(), _STEP.size)


_stacks: list[Any] = []  # faulthandler needs the file open for as long as the process lives.


def _offer_stacks(path: Path) -> None:
    if signal.getsignal(STACK_SIGNAL) is not signal.SIG_DFL:
        return
    with contextlib.suppress(OSError, ValueError):
        file = path.open("w", encoding="utf-8")
        # Written in C, within the signal: it works also while the interpreter waits in a collective.
        faulthandler.register(STACK_SIGNAL, file=file, all_threads=True)
        _stacks.append(file)
