"""The section of docs/benchmarks.md on training with several processes."""

from __future__ import annotations

import datetime

from benchmarks.parallel_rounds import (
    AGREE,
    BATCH_SIZE,
    CALLS,
    PROCESSES,
    SAVES,
    STATE_MIB,
    WARMUP,
    Parallel,
)
from benchmarks.tables_and_page import comparison_parts, describe_machine

_SECTION = """## Training with several processes

{machine}. {date}.

    python tools/benchmark.py parallel --rounds {rounds} --steps {steps}

Several processes beside one, on the CPU over gloo, each process with one thread (`OMP_NUM_THREADS=1`), so that two have
twice the cores of the one, and four share these; else every contestant has the trainer's CPU set-up. Each round runs
every contestant once, in an order that rotates, in fresh processes. Shown are the median of the rounds (here {rounds})
and, in brackets, the lowest and the highest. A ratio is that of the contestant to the peer beside it, within the same
round; a target is met, or missed, if it is in every round, and else open.
Other programs took {other_work:.0%} of the processors meanwhile; what they take slows two processes more than one.

{parts}
"""
_PARTS = {
    "speed": """**How fast it trains**: the digit network `MNIST` and an `MLP` of 2 million parameters, Adam with
PolynomialDecay, {batch_size} samples for each process in a step from the real MNIST files; {warmup} steps to warm up,
then {steps} that count. The trainer runs with its defaults and two logs. Its peer is the loop of Paddle's tutorials,
with `DistributedBatchSampler`, `DataLoader` and, where there are several processes, `paddle.DataParallel`, over
`paddle.vision.datasets.MNIST` with `ToTensor`. As a harder peer the same loop takes its batches from arrays that were
prepared before the clock started.""",
    "scaling": """**What more processes bring**: how many times as many samples a second they take as one. A loop that
spends more of its time loading data gains more, for loading needs no exchange.""",
    "exchange": """**What the processes exchange**, the mean of {calls} calls in which they come at the same time; what
one waits for another in training is not in it. `World.{agree}` is how they decide together, before each step, whether
to save and whether to stop; wanted is at most 1 % of a step. `World.average_gradients` is beside one `all_reduce`
of a single tensor with as many numbers. `World.gather` brings the random state of each process to rank 0 when it
saves.""",
    "saving": """**What saving and restoring cost**: the median of {saves} saves in each round, of a model with Adam of
{state} MiB that every process has, and rank 0 writes. The stall is how long `Checkpointer.save` holds up the slowest
process; persist is from then until the checkpoint is durable; restoring ends when the last process has every
tensor, digests checked, files in the page cache.""",
}


def parallel_section(found: Parallel) -> str:
    """The section of docs/benchmarks.md, in Markdown."""
    numbers = {
        "processes": PROCESSES,
        "batch_size": BATCH_SIZE,
        "warmup": WARMUP,
        "steps": found.steps,
        "calls": CALLS,
        "agree": AGREE,
        "saves": SAVES,
        "state": STATE_MIB,
    }
    return _SECTION.format(
        machine=describe_machine(found.machine),
        date=datetime.date.today().isoformat(),
        rounds=found.rounds,
        steps=found.steps,
        processes=PROCESSES,
        other_work=found.machine["other_work"],
        parts=comparison_parts(found.comparisons, _PARTS, numbers),
    )
