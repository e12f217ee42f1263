"""Calls `on_save`, and tells of state that changes there, where it comes too late for the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from paddle_resume.training.hooks import Hooks

Changed = Callable[[Callable[[], None]], Sequence[str]]


class SaveHook:
    """The hook `on_save` of all callbacks; `changed_by` says what a call has changed, by its path."""

    def __init__(self, hooks: Hooks, changed_by: Changed, tell: Callable[[str], None]) -> None:
        self._hooks = hooks
        self._changed_by = changed_by
        self._tell = tell
        self._has_told = False

    def __call__(self, prefix: Path) -> None:
        """The checkpoint of this prefix has become durable."""
        if self._has_told or not self._hooks.has_users("on_save"):
            self._hooks.call("on_save", prefix)
            return
        changed = self._changed_by(lambda: self._hooks.call("on_save", prefix))
        if changed:
            self._has_told = True
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            self._tell(
                f"on_save has changed {changed[0]}{more}. The checkpoint was written before, so a resume begins "
                "without that, and need not end as if untouched: change state in on_step_end or on_epoch_end instead."
            )
