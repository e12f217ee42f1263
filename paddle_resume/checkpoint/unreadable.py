"""Why a file or a checkpoint cannot be used: one class for each kind of reason, so that nobody reads the words."""

from __future__ import annotations

_LONGEST = 500


class Unreadable(Exception):
    """Why a file is no record or tensor file of ours; `reason` says it to a person."""

    def __init__(self, reason: str) -> None:
        # What a damaged file says of itself may be as long as the file.
        self.reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
        super().__init__(self.reason)


class Missing(Unreadable):
    """A file of the checkpoint is not there."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is missing")


class NoRecord(Missing):
    """There is no commit record, and so no checkpoint."""

    def __init__(self) -> None:
        super().__init__("it")


class Removed(NoRecord):
    """It was there when the reading began: a training's retention has removed it since."""


class WrongSize(Unreadable):
    """It has more or fewer bytes than it should have."""


class Damaged(Unreadable):
    """Its content does not match its digest, or contradicts itself."""


class Foreign(Unreadable):
    """Something else than this package wrote it, or another version of its format."""
