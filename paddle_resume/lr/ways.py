"""The ways in which a learning rate goes on where a run is made longer or its schedule another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

REPLAN, RESTART, HOLD = "replan", "restart", "hold"
WAYS = {
    REPLAN: "as if the new schedule had been there from the first step",
    RESTART: "the new schedule begins here",
    HOLD: "the old schedule goes on to its end, and its last rate stays",
}
HELD_AT = "_held_at"
"""The attribute of a schedule that tells at which position it stops for good."""
HELD_MOVES = "_held_moves"

# The fields of Paddle's schedules, and of Warmup, that tell after how many moves they have come to their end.
_ENDS = {
    "PolynomialDecay": ("decay_steps",),
    "CosineAnnealingDecay": ("T_max",),
    "OneCycleLR": ("total_steps",),
    "LinearLR": ("total_steps",),
    "CosineAnnealingWarmRestarts": ("T_0",),
    "StepDecay": ("step_size",),
    "CyclicLR": ("step_size_up", "step_size_down"),
}
_BEFORE = {"Warmup": "steps", "LinearWarmup": "warmup_steps"}


def is_held(scheduler: Any) -> bool:
    """Whether the schedule has come to where it stops for good."""
    at: Optional[int] = getattr(scheduler, HELD_AT, None)
    return at is not None and int(scheduler.last_epoch) >= at


def hold(scheduler: Any, at: int, moves: int = 0) -> None:
    """Have the schedule stop for good at a position, where it has been left alone for so many moves already."""
    setattr(scheduler, HELD_AT, at)
    setattr(scheduler, HELD_MOVES, moves)


def count_held(scheduler: Any) -> None:
    """A move that the schedule would have made is left out."""
    setattr(scheduler, HELD_MOVES, held_moves(scheduler) + 1)


def held_moves(scheduler: Any) -> int:
    """How many moves were left out."""
    return int(getattr(scheduler, HELD_MOVES, 0))


def end_of(kind: str, given: Mapping[str, Any]) -> Optional[int]:
    """At which position a schedule of the class `kind` with these arguments ends; None if it has no end."""
    if kind in _BEFORE:
        inner = given.get("learning_rate", given.get("lr"))
        before = int(given[_BEFORE[kind]])
        after = end_of(inner["class"], inner["given"]) if isinstance(inner, Mapping) else 0
        return None if after is None else before + after
    if kind == "PiecewiseDecay":
        return int(given["boundaries"][-1])
    if kind == "MultiStepDecay":
        return int(given["milestones"][-1])
    if kind == "PolynomialDecay" and given.get("cycle"):
        return None
    fields = _ENDS.get(kind, ())
    return sum(int(given[field]) for field in fields) if fields and all(field in given for field in fields) else None
