"""Brings a schedule that was just built to the position at which a run stands."""

from __future__ import annotations

from typing import Any

from paddle.optimizer.lr import LRScheduler, MultiplicativeDecay, ReduceOnPlateau

from paddle_resume.errors import StateError


def move_to(scheduler: Any, position: int) -> None:
    """Bring a fresh `scheduler` to where it would be after `position` steps; of a ReduceOnPlateau that is its start.

    It is stepped there, since the rate of some classes depends on all steps before: so it holds what it would hold
    if it had been in force from the beginning. Raises StateError if the schedule cannot get that far.
    """
    if isinstance(scheduler, ReduceOnPlateau):
        return  # What it would have seen is not known.
    try:
        if type(scheduler) is MultiplicativeDecay and position:
            # Each of its steps takes as long as all before it, and its rate depends on the last one only.
            scheduler.last_epoch = position - 1
            scheduler.step()
            return
        move = getattr(scheduler, "count_update", scheduler.step) if _waits(scheduler) else scheduler.step
        for _ in range(position):
            move()
    except Exception as error:
        raise StateError(
            f"The schedule {type(scheduler).__name__} cannot begin at position {position}, where the run stands: "
            f"{error}. Give it more steps, or start over with --resume none."
        ) from error


def _waits(scheduler: Any) -> bool:
    """Whether what is inside it waits for a metric."""
    inner = getattr(scheduler, "learning_rate", None)
    return isinstance(inner, LRScheduler) and isinstance(inner, ReduceOnPlateau)
