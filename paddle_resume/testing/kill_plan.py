"""What happens to one life of a program under proof: where it is interrupted, and what it must forget."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Optional

MOMENTS = ("step", "start", "save", "orphan", "time", "epoch", "evaluate")
"""Of the trainer; loops of other kinds have `begin` besides, and several processes have `gather`."""
KILL = "SIGKILL"
STOPS = ("SIGTERM", "SIGINT")
"""The signals on which a run finishes its step, saves, and ends by itself."""
TELL_WHERE: Optional[int] = getattr(signal, "SIGUSR1", None)
"""The signal on which a process writes where its threads are, if the program has no use of its own for it."""


@dataclass(frozen=True)
class Kill:
    """When a process is interrupted, and by which signal.

    `moment` is one of:

    - `start`: after the restore, before a step;
    - `begin`: as step `after` (the first is 0) begins; the moment in loops other than the trainer's;
    - `step`: in the middle of step `after` (the first is 0): the optimizer has updated, nothing is counted yet;
    - `save`: trainer and writer together, before the `count`-th system call of the first save after step `after`; a
      stop as that save begins;
    - `orphan`: likewise, but only the trainer: the writer finishes what it has begun;
    - `gather`: in the first save after step `after`, as the processes bring their states together;
    - `epoch`: between two epochs;
    - `evaluate`: at the `count`-th evaluation batch after step `after`;
    - `time`: from outside, after `count` thousandths of the straight run's duration.

    `signal` is `SIGKILL`, `SIGTERM` or `SIGINT`. `rank` is the process that it takes; None takes all of them.
    """

    moment: str
    after: int = 0
    count: int = 1
    signal: str = KILL
    rank: Optional[int] = None

    @property
    def is_stop(self) -> bool:
        """Whether the run is to save and to end by itself."""
        return self.signal in STOPS

    @property
    def signum(self) -> int:
        """The number of the signal."""
        return signal.Signals[self.signal]

    @property
    def until(self) -> str:
        """How a life with it ends: `killed in the middle of step 5`, `SIGTERM to rank 1 at start-up, ...`."""
        to = "" if self.rank is None else f"rank {self.rank} is " if not self.is_stop else f" to rank {self.rank}"
        return f"{self.signal}{to} {self}" if self.is_stop else f"{to}killed {self}"

    def __str__(self) -> str:
        in_save = f"in the first save after step {self.after}"
        return {
            "time": f"after {self.count / 10:g} % of the straight run's time",
            "start": "at start-up, after the restore",
            "begin": f"at the beginning of step {self.after}",
            "step": f"in the middle of step {self.after}",
            "save": in_save if self.is_stop else f"{in_save}, before system call {self.count}",
            "orphan": f"{in_save}, the writer living on from system call {self.count}",
            "gather": f"{in_save}, as the processes bring their states together",
            "epoch": f"at the first end of an epoch after step {self.after}",
            "evaluate": f"at evaluation batch {self.count} after step {self.after}",
        }[self.moment]


@dataclass(frozen=True)
class Plan:
    """What the harness does in one process: where it is interrupted (None: nowhere), what it must forget to restore,
    and where it writes down what each step is made of (None: it does not), for `look_into` of one step."""

    report: str
    kill: Optional[Kill] = None
    forget: list[str] = field(default_factory=list)
    trace: Optional[str] = None
    look_into: Optional[int] = None

    def of_rank(self, rank: int) -> Plan:
        """The plan as it concerns one process."""
        kill = self.kill if self.kill is None or self.kill.rank in (None, rank) else None
        return replace(self, kill=kill, trace=None if self.trace is None else str(self.trace_of(rank)))

    def trace_of(self, rank: int) -> Path:
        """Where one process writes its trace."""
        return Path(f"{self.trace}.{rank}")

    @property
    def came(self) -> Path:
        """Where the harness notes in which step a stop came."""
        return Path(f"{self.report}.came")

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        content = json.loads(path.read_text(encoding="utf-8"))
        kill = content.pop("kill")
        return cls(kill=Kill(**kill) if kill else None, **content)
