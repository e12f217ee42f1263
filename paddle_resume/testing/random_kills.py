"""Chooses at random where, by which signal and in which process a run of a known length is interrupted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from paddle_resume.testing.kill_plan import KILL, MOMENTS, STOPS, Kill

_AT_THE_END = ("epoch", "evaluate")
# A stop is answered one step after it came, or among several processes two.
_STEPS_OF_A_STOP = 2


@dataclass(frozen=True)
class RunShape:
    """What of a run decides at which moments it can be interrupted."""

    steps: int
    epochs_end: bool = True
    """Whether any epoch ends before the run does."""
    last_inner_end: int = 0
    """After how many steps the last epoch ends that is followed by another; 0: none is."""
    evaluates: bool = True
    background: bool = True
    """Whether a process of its own writes the checkpoints."""
    processes: int = 1


def plan_kills(count: int, run: RunShape, draw: random.Random, *, stops: bool = False) -> list[Kill]:
    """`count` kills of every kind at random, at ever later steps; with `stops`, SIGTERM and SIGINT as well.

    Those at a time come first, since nobody knows how far the run is then; those at the end of an epoch (if any epoch
    ends) and in an evaluation last, so that they land. Of several processes each kill takes one, or all.
    """
    kinds = _kinds(count, run)
    after = sorted(draw.randrange(1, max(2, int(run.steps * 0.8))) for _ in kinds)
    signals = _signals(count, draw) if stops else [KILL] * count
    plan: list[Kill] = []
    for kind, signal, step in zip(kinds, signals, after):
        furthest = max((k.after for k in plan), default=0)
        if signal != KILL:
            kind = _for_a_stop(kind, furthest, run)
        if kind in _AT_THE_END:
            step = furthest
        rank = draw.choice([None, *range(run.processes)]) if run.processes > 1 else None
        if kind in ("save", "orphan") and run.processes > 1:
            # Rank 0 writes, and alone can be taken there.
            kind, rank = ("gather", rank) if rank else (kind, 0 if signal != KILL else rank)
        counts = {"save": draw.randrange(1, 12), "orphan": draw.randrange(1, 12), "time": draw.randrange(100, 500)}
        # A stop comes as the first save begins, and waits for none of the writer's system calls.
        number = 1 if kind == "save" and signal != KILL else counts.get(kind, 1)
        plan.append(Kill(kind, 0 if kind == "start" else step, number, signal, rank))
    return plan


def _kinds(count: int, run: RunShape) -> list[str]:
    late = [kind for kind in _AT_THE_END if (run.epochs_end if kind == "epoch" else run.evaluates)]
    early = [kind for kind in MOMENTS if kind not in _AT_THE_END]
    if not run.background:
        early = [kind for kind in early if kind not in ("save", "orphan")]
    if run.processes > 1:
        early.insert(2, "gather")
    kinds = [early[i % len(early)] for i in range(max(0, count - len(late)))]
    return (sorted(kinds, key=lambda kind: kind != "time") + late)[:count]


def _signals(count: int, draw: random.Random) -> Sequence[str]:
    kinds = [KILL, *STOPS]
    signals = [kinds[i % len(kinds)] for i in range(count)]
    draw.shuffle(signals)
    return signals


def _for_a_stop(kind: str, furthest: int, run: RunShape) -> str:
    """The kind at which a stop can be answered: a step has to follow, at whose end the run sees it."""
    if kind == "orphan":
        return "begin"
    follows = furthest + _STEPS_OF_A_STOP < run.last_inner_end
    return "step" if kind in _AT_THE_END and not follows else kind
