"""What happens to one life of a program under proof: where it is killed, and what it must forget."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Optional

MOMENTS = ("step", "start", "save", "orphan", "time", "epoch", "evaluate")
"""Of the trainer; loops of other kinds have `begin` besides."""


@dataclass(frozen=True)
class Kill:
    """When a process is killed.

    `moment` is one of:

    - `start`: after the restore, before a step;
    - `begin`: as step `after` (the first is 0) begins; the moment in loops other than the trainer's;
    - `step`: in the middle of step `after` (the first is 0): the optimizer has updated, nothing is counted yet;
    - `save`: trainer and writer together, before the `count`-th system call of the first save after step `after`;
    - `orphan`: likewise, but only the trainer: the writer finishes what it has begun;
    - `epoch`: between two epochs;
    - `evaluate`: at the `count`-th evaluation batch after step `after`;
    - `time`: from outside, after `count` thousandths of the straight run's duration.
    """

    moment: str
    after: int = 0
    count: int = 1

    def __str__(self) -> str:
        return {
            "time": f"after {self.count / 10:g} % of the straight run's time",
            "start": "at start-up, after the restore",
            "begin": f"at the beginning of step {self.after}",
            "step": f"in the middle of step {self.after}",
            "save": f"in the first save after step {self.after}, before system call {self.count}",
            "orphan": f"in the first save after step {self.after}, the writer living on from system call {self.count}",
            "epoch": f"at the first end of an epoch after step {self.after}",
            "evaluate": f"at evaluation batch {self.count} after step {self.after}",
        }[self.moment]


@dataclass(frozen=True)
class Plan:
    """What the harness does in one process: where it dies (None: it lives), and what it must forget to restore."""

    report: str
    kill: Optional[Kill] = None
    forget: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        content = json.loads(path.read_text(encoding="utf-8"))
        kill = content.pop("kill")
        return cls(kill=Kill(**kill) if kill else None, **content)
