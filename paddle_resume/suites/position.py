"""Owner of how far a wrapped program is: how many batches it has asked for, and where it asks for them."""

from __future__ import annotations

from typing import Any


class Position:
    """The number of batches is put back; the place is what a resume waits for the program to come to."""

    def __init__(self) -> None:
        self.step = 0
        self.site: list[list[Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "site": self.site}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
