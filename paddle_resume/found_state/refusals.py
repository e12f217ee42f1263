"""What cannot be saved, by path, gathered so that all of it is told at once."""

from __future__ import annotations

from paddle_resume.errors import StateError

_SHOWN = 8


class Refusals:
    """Paths, each with what stands there."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, path: str, what: str) -> None:
        """Note what stands at `path`; of several things there the first one is kept."""
        self.found.setdefault(path, what)

    def require_none(self) -> None:
        """Raises StateError with a line for each."""
        if not self.found:
            return
        lines = [f"{path}: {what}" for path, what in list(self.found.items())[:_SHOWN]]
        more = f"; and {len(self.found) - _SHOWN} more" if len(self.found) > _SHOWN else ""
        raise StateError(
            f"A part of this run bears state that cannot be saved, so that it could not go on as it was: "
            f"{'; '.join(lines)}{more}. Give its owner state_dict() and set_state_dict(), or name the attribute in "
            "derived_attributes of its class if nothing depends on it or the program makes it anew."
        )
