"""Where a run stands: how many steps it has made, and what comes next."""

from __future__ import annotations

from typing import Any

# What comes next. The epoch and the position in it belong to the data feed.
TRAIN = "train"
EVALUATE = "evaluate"
FINISH = "finish"
DONE = "done"


class Progress:
    """Owner of the step count, the phase, and the latest metrics by tag (`train/loss`, `valid/acc`)."""

    def __init__(self) -> None:
        self.step = 0
        self.phase = TRAIN
        self.results: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "phase": self.phase, "results": dict(self.results)}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.phase, self.results = state["step"], state["phase"], dict(state["results"])
