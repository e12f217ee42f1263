"""What it takes the processes to agree on each step: a round of their channel, or three numbers of what they exchange.

python -m benchmarks.agreement [TURNS] [CALLS]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional

import numpy as np
import paddle

from benchmarks.child_process import report, results_of_ranks
from benchmarks.stopwatch import OtherWork
from paddle_resume.parallel.exchange import make_exchange
from paddle_resume.parallel.step_agreement import TOLD, StepAgreement
from paddle_resume.parallel.world import World

RANKS = (2, 4, 8)
NUMBERS = 20_350
"""As many as the MNIST net has parameters."""
_TAIL = 64
_DEFAULTS = (11, 50)
_WARMUP = 20
CHANNEL, EXCHANGE, RIDING = "a round of the channel", "the exchange", "the exchange with the agreement in it"


class _Riding(World):
    """The same processes, taken for ones whose collectives wait for who comes late, as NCCL's do."""

    collectives_wait = True


def time_by_turns(turns: int, calls: int) -> dict[str, list[float]]:
    """Seconds a call in each turn: all three ways by turns, in the same processes."""
    world = World.current()
    exchange = make_exchange("pairs", world)
    agreement = StepAgreement(_Riding(world.rank, world.size), rides=True)

    def exchanged(told: Optional[Sequence[float]] = None) -> Any:
        """The end of the sum, which an elastic step reads in any case."""
        tail = np.zeros(_TAIL, np.float32)
        if told is not None:
            tail[-TOLD:] = told
        total = exchange.sum(paddle.concat([paddle.ones([NUMBERS]), paddle.to_tensor(tail)]))
        assert total is not None
        return total[-_TAIL:].numpy()

    def riding() -> None:
        agreement.begin(False, None)
        agreement.hear(exchanged(agreement.told())[-TOLD:].tolist())
        agreement.end()

    ways: dict[str, Callable[[], Any]] = {CHANNEL: world.agree, EXCHANGE: exchanged, RIDING: riding}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with world.together():
        for turn in range(-1, turns):
            for name in ways if turn % 2 else reversed(ways):
                world.agree()
                begun = time.perf_counter()
                for _ in range(calls if turn >= 0 else _WARMUP):
                    ways[name]()
                if turn >= 0:
                    seconds[name].append((time.perf_counter() - begun) / calls)
    return seconds


def row(ranks: int, seconds: dict[str, Sequence[float]]) -> str:
    """A line of the table: medians in microseconds, and quartiles."""
    cells = []
    for name in (CHANNEL, EXCHANGE, RIDING):
        low, middle, high = statistics.quantiles(seconds[name], n=4)
        cells.append(f"{middle * 1e6:,.0f} ({low * 1e6:,.0f}-{high * 1e6:,.0f})")
    more = [with_it - alone for with_it, alone in zip(seconds[RIDING], seconds[EXCHANGE])]
    low, middle, high = (each * 1e6 for each in statistics.quantiles(more, n=4))
    return f"| {ranks} | {' | '.join(cells)} | {middle:,.0f} ({low:,.0f} to {high:,.0f}) |"


def main() -> None:
    """Print the table."""
    turns, calls = [*map(int, sys.argv[1:]), *_DEFAULTS[len(sys.argv) - 1 :]]
    others = OtherWork()
    print(f"Microseconds a step: median (quartiles) of {turns} turns of {calls}\n")
    print(f"| processes | {CHANNEL} | {EXCHANGE} | {RIDING} | more by riding |")
    print("|---:|---:|---:|---:|---:|")
    for ranks in RANKS:
        found = results_of_ranks(str(ranks), "benchmarks.agreement", {"turns": turns, "calls": calls}, ranks)
        print(row(ranks, {name: [max(each) for each in zip(*(r[name] for r in found))] for name in found[0]}))
    print(f"\nOther work on the machine: {others.share:.0%}")


if __name__ == "__main__":
    paddle.set_device("cpu")
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        report(time_by_turns(**json.loads(sys.argv[1])))
    else:
        main()
