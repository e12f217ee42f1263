"""Why a file or a checkpoint cannot be used: one class for each kind of reason, so that nobody reads the words."""

from __future__ import annotations


class Unreadable(Exception):
    """Why a file is no record or tensor file of ours; `reason` says it to a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Missing(Unreadable):
    """A file of the checkpoint is not there."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is missing")


class NoRecord(Missing):
    """There is no commit record, and so no checkpoint."""

    def __init__(self) -> None:
        super().__init__("it")


class WrongSize(Unreadable):
    """It has more or fewer bytes than it should have."""


class Damaged(Unreadable):
    """Its content does not match its digest, or contradicts itself."""


class Foreign(Unreadable):
    """Something else than this package wrote it, or another version of its format."""
