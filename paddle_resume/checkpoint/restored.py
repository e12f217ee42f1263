"""What a restore did: where the run stands now, and what was passed over or differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from paddle_resume.differences import Difference

MEMORY = "memory\0"
"""Means the save in memory for `restore`; no path of anybody's."""


class InMemory(NamedTuple):
    """A save in memory, made after the durable checkpoint of that prefix and step; None: before there was any."""

    after: tuple[Path, int] | None


@dataclass(frozen=True)
class Restored:
    """What a restore did: where the run stands now, and what was passed over or differs."""

    prefix: Path
    step: int
    passed_over: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    changes: list[Difference] = field(default_factory=list)
    """Differences that were asked for: the run goes on with them, as reproducible as before."""
    in_memory: InMemory | None = None
    """Set if it was restored from memory; `prefix` is not on disk then."""

    @property
    def again(self) -> str:
        """What `restore` has to be told to do the same once more."""
        return str(self.prefix) if self.in_memory is None else MEMORY

    @property
    def source(self) -> str:
        """Where it was found: a prefix, or memory."""
        if self.in_memory is None:
            return str(self.prefix)
        if self.in_memory.after is None:
            return "memory (before any checkpoint on disk)"
        prefix, step = self.in_memory.after
        if self.step < step:
            return f"memory (saved after the run went back from {prefix})"
        return f"memory ({self.step - step} steps after {prefix})"
