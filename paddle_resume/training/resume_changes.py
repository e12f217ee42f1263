"""What a resume may change on purpose: which differences were asked for, and how they are carried out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from paddle_resume.checkpoint.restored import Restored
from paddle_resume.differences import Difference
from paddle_resume.training.run_view import RunView


class ResumeChanges(Protocol):
    """Decides about differences before a resume, and makes those that were wanted part of the run after it."""

    def wanted(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        """Those that were asked for; the run is as reproducible with them as before."""
        ...

    def carry_out(self, run: RunView, restored: Restored) -> None:
        """Called after the restore, before the first step."""
        ...


class _NoChanges:
    def wanted(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        return ()

    def carry_out(self, run: RunView, restored: Restored) -> None: ...


NO_CHANGES: ResumeChanges = _NoChanges()
