"""In which ways a learning rate can go on from a checkpoint whose schedule was another, in words and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from paddle_resume.checkpoint.resume_errors import Refusal
from paddle_resume.lr.ways import HOLD, REPLAN, RESTART, WAYS
from paddle_resume.owners.scheduler import SchedulerState


class RateWays:
    """The ways that are open to the first optimizer whose schedule differs."""

    def __init__(self, refusal: Refusal, schedulers: Mapping[str, SchedulerState]) -> None:
        self._last: Any = refusal.states.get("progress", {}).get("learning_rate")
        self._step: Any = refusal.states.get("progress", {}).get("step")
        self._rates: dict[str, tuple[float, float]] = {}
        for name, scheduler in schedulers.items():
            state = refusal.states.get(name)
            if state is not None and scheduler.differences(state):
                self._rates = scheduler.rates(state)
                break

    @property
    def are_many(self) -> bool:
        """Whether there is a choice."""
        return len(self._rates) > 1

    @property
    def best(self) -> str:
        """The way with the smallest jump of those that still learn something at their end; of a tie the first."""
        learns = [way for way, (begins, ends) in self._rates.items() if way != HOLD or ends > 0]
        last = self._last if isinstance(self._last, float) else 0.0
        ways = [way for way in (HOLD, REPLAN, RESTART) if way in learns]
        return min(ways, key=lambda way: abs(self._rates[way][0] - last)) if ways else REPLAN

    def text(self, spell: Callable[[str], str]) -> str:
        """A line for each way, `spell` giving how it is asked for, with what becomes of the rate."""
        lines = [f"  {spell(way):<22} {WAYS[way]}: {self._course(way)}" for way in WAYS if way in self._rates]
        last = f" The last step was made with {figure(self._last)}." if isinstance(self._last, float) else ""
        return f"{last} The learning rate can go on in these ways:\n" + "\n".join(lines) + "\n"

    def _course(self, way: str) -> str:
        begins, ends = self._rates[way]
        course = f"the next has {figure(begins)}"
        if way == HOLD:
            course += f", and the last {figure(ends)}" if ends != begins else " and so have all"
            course += ", which learns nothing" if ends == 0 else ""
        return course


def jump(before: float, after: float) -> str:
    """How the rate goes on, as a person is told."""
    if before == after:
        return f"{figure(before)}, without a jump"
    return f"{figure(before)} in the last step, {figure(after)} in the next"


def figure(rate: float) -> str:
    return f"{rate:.6g}"
