"""Where a run stands: how many steps it has made, and what comes next; the epoch belongs to the data."""

from __future__ import annotations

from typing import Any, Optional

from paddle_resume.checkpoint.phases import TRAIN


class Progress:
    """Owner of the step count, the phase, the last step's learning rate, the latest metrics by tag, and of what was
    before the run began to end."""

    def __init__(self) -> None:
        self.step = 0
        self.phase = TRAIN
        self.learning_rate = 0.0
        self.results: dict[str, float] = {}
        """Such as `train/loss` and `valid/acc`."""
        self.before_end: Optional[dict[str, Any]] = None
        """See `Ending`; None while the run has not begun to end."""

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "phase": self.phase,
            "learning_rate": self.learning_rate,
            "results": dict(self.results),
            **({} if self.before_end is None else {"before_end": self.before_end}),
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.phase = state["step"], state["phase"]
        self.learning_rate, self.results = state["learning_rate"], dict(state["results"])
        self.before_end = state.get("before_end")
