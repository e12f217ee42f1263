"""What a benchmark found, for a person: a table on the console, and its section of docs/benchmarks.md."""

from __future__ import annotations

import datetime
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.saving import BATCH_SIZE as SAVING_BATCH_SIZE
from benchmarks.saving import EVERY_STEPS, SMALL_PRINT_MIB, Comparison, Saving
from benchmarks.throughput import BATCH_SIZE, PEERS, SHARE_TARGET, TRAINER, Throughput
from benchmarks.verdict import MET, MISSED, verdict

_PAGE = """# Benchmarks

Every number on this page was written by `tools/benchmark.py`, which runs the contestants side by side.
It and `benchmarks/` are part of a checkout, not of the installed package.
"""

_THROUGHPUT = """## Training throughput

{machine}. {date}.

    python tools/benchmark.py throughput --rounds {rounds} --steps {steps}

The digit network `MNIST` (two convolutions, one linear layer), Adam with PolynomialDecay, batches of {batch_size} from
the real MNIST files, on the CPU. Each round runs every contestant once, in an order that rotates, in a fresh process:
{warmup} steps to warm up, then {steps} that count. Shown are the median of the rounds (here {rounds}) and, in brackets,
the lowest and the highest. A ratio compares the trainer with a peer of the same round; a target is met, or missed, if
it is in every round, and else open.

{table}

The trainer runs with its defaults: its own CPU set-up ({setup}),
a VisualDL and a JSON log. The peers read the same files through `paddle.vision.datasets.MNIST` and `ToTensor`; the
plain loop is that of Paddle's tutorials, with `paddle.io.DataLoader`. In the default environment none of these
variables is set; in the same environment they are those of the trainer.

**The trainer's own share of a step** is wanted under {share_target:g} %. It is all that its loop adds to forward, loss,
backward, optimizer step and clear_grad: metrics, scheduler, look at the loss, callbacks, logs, signals; the mean shows
also what only some steps have, such as the log. Over {share_steps} steps:

{share}
"""

_SAVING = """## Saving and resuming

{machine}; {disk}. {date}.

    python tools/benchmark.py saving --sizes {sizes} --rounds {rounds} --steps {steps}

Shown are the median of the rounds (here {rounds}) and, in brackets, the lowest and the highest. A ratio is that of the
contestant to the peer beside it, within the same round; contestants run in turns, in an order that rotates. A target
is met, or missed, if it is in every round, and else open: the rounds lie too far apart.
The state is a model with Adam whose weights and moments take the given size: four matrices and forty vectors.
{skipped}{parts}
"""
_PARTS = {
    "stall": """**How long a save stops training**: from calling `Checkpointer.save` to its return, when the bytes are
in the snapshot. Peers: `np.copyto` of the same bytes into memory that was used before; `paddle.save` of the state of
model and optimizer; where torch is installed, how long `torch.save` and the call of
`torch.distributed.checkpoint.async_save` hold up their process with as many bytes. The first save of a run is apart,
for its memory is new; its peer copies into new memory too.""",
    "persist": """**How fast the writer is**: from the return of `save` until the checkpoint is durable, digests
included; the older one is removed after that. Peer: `posix_fallocate`, write and fsync of the same bytes, one file,
same disk.""",
    "restore": """**How long restoring takes**, files in the page cache: `Checkpointer.restore`, every digest checked.
Peers: reading the two files into memory with one xxh3_128 of each; `paddle.load` and `set_state_dict`, unchecked.""",
    "memory": """**What memory it takes**: the most that the trainer and its writer hold during it, beyond what they
held before, sampled; the snapshot that they share counts once. Wanted is at most one copy of the state and
{small_print} MiB.""",
    "training": """**What training loses**: the digit network `MNIST`, batches of {batch_size} from memory, a save every
{every} steps, over {steps} steps.""",
    "start": """**How long a resumed run takes** from the start of the process to the end of its first new step, with
two data workers, at two places of an epoch of 1,000 steps. Equal means that what came before costs nothing.""",
}


def throughput_table(found: Throughput) -> Table:
    """The contestants, what each reached, and the trainer's ratio to each peer."""
    return _table(f"Training throughput (rounds: {found.rounds}, steps: {found.steps})", _HEADINGS, _rows(found))


def share_table(found: Throughput) -> Table:
    """The trainer's share of a step, with and without what it takes to bring the batch."""
    title = f"The trainer's share of a step (steps: {found.share['steps']})"
    return _table(title, _SHARE_HEADINGS, _share_rows(found))


def throughput_section(found: Throughput) -> str:
    """The section of docs/benchmarks.md, in Markdown."""
    machine = found.machine
    variables = [f"`{name}={machine[name]}`" for name in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE") if machine[name]]
    return _THROUGHPUT.format(
        machine=describe_machine(machine),
        date=datetime.date.today().isoformat(),
        rounds=found.rounds,
        steps=found.steps,
        warmup=found.warmup,
        batch_size=BATCH_SIZE,
        table=markdown_table(_HEADINGS, _rows(found)),
        setup=", ".join(variables) or "nothing set",
        share=markdown_table(_SHARE_HEADINGS, _share_rows(found)),
        share_target=SHARE_TARGET,
        share_steps=found.share["steps"],
    )


def saving_tables(found: Saving) -> list[Table]:
    """A table for each part, with the target of each ratio and whether it is met."""
    return comparison_tables(found.comparisons, found.rounds)


def comparison_tables(comparisons: Sequence[Comparison], rounds: int) -> list[Table]:
    """A table for each part of `comparisons`."""
    return [
        _table(f"{part} (rounds: {rounds})", COMPARISON_HEADINGS, rows)
        for part, rows in comparison_rows(comparisons).items()
    ]


def comparison_parts(comparisons: Sequence[Comparison], texts: Mapping[str, str], numbers: Mapping[str, Any]) -> str:
    """Each part of `comparisons` in Markdown, below its text, into which the numbers are put."""
    return "\n\n".join(
        f"{texts[part].format(**numbers)}\n\n{markdown_table(COMPARISON_HEADINGS, rows)}"
        for part, rows in comparison_rows(comparisons).items()
    )


def saving_section(found: Saving) -> str:
    """The section of docs/benchmarks.md, in Markdown."""
    numbers = {
        "small_print": SMALL_PRINT_MIB,
        "batch_size": SAVING_BATCH_SIZE,
        "every": EVERY_STEPS,
        "steps": found.steps,
    }
    return _SAVING.format(
        machine=describe_machine(found.machine),
        disk=found.machine["disk"],
        date=datetime.date.today().isoformat(),
        sizes=",".join(map(str, found.sizes)),
        rounds=found.rounds,
        steps=found.steps,
        skipped="".join(f"Left out: {line}.\n" for line in found.skipped),
        parts="\n" + comparison_parts(found.comparisons, _PARTS, numbers),
    )


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right")
    for row in rows:
        table.add_row(*row)
    return table


def describe_machine(machine: dict[str, Any]) -> str:
    """One line: processor, cores, versions."""
    return (
        f"{machine['cpu']}, {machine['cores']} physical cores; Paddle {machine['paddle']}, "
        f"NumPy {machine['numpy']}, Python {machine['python']}"
    )


def write_section(page: Path, name: str, text: str) -> None:
    """Put the section `name` into `page`, in place of the one that is there, and leave all others alone."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    old = page.read_text(encoding="utf-8") if page.exists() else _PAGE
    place = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    # The replacement is a function because a text would have its backslashes read.
    new, replaced = place.subn(lambda _: section, old, count=1)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(new if replaced else f"{old.rstrip()}\n\n{section}\n", encoding="utf-8")


_HEADINGS = ("contestant", "samples/s", "(lowest-highest)", "trainer's ratio", "(lowest-highest)", "target", "met")
COMPARISON_HEADINGS = ("contestant", "median (lowest-highest)", "peer", "its own", "ratio", "target", "met")
_SHARE_HEADINGS = ("share of a step", "median", "mean", "target", "met")


def _rows(found: Throughput) -> list[list[str]]:
    rows = [[TRAINER.name, *_spread(found.samples_per_second[TRAINER.name], ",.0f"), "", "", "", ""]]
    for peer in PEERS:
        speed = _spread(found.samples_per_second[peer.name], ",.0f")
        ratio = _spread(found.ratios(peer), ".2f")
        rows.append([peer.name, *speed, *ratio, f">= {peer.target}", verdict(found.ratios(peer), peer.target)])
    return rows


def _share_rows(found: Throughput) -> list[list[str]]:
    times = found.share["milliseconds"]
    rows = []
    for key, label, spent in (
        ("own", "without bringing the batch", times["own"]),
        ("own_and_batch", "with it (gather and to_tensor)", times["own"] + times["batch"]),
    ):
        share = found.share[key]
        rows.append(
            [
                f"{label}: {spent:.2f} of {times['step']:.2f} ms",
                f"{share['median']:.2f} %",
                f"{share['mean']:.2f} %",
                f"< {SHARE_TARGET:g} %",
                MET if share["median"] < SHARE_TARGET else MISSED,
            ]
        )
    return rows


def comparison_rows(comparisons: Sequence[Comparison]) -> dict[str, list[list[str]]]:
    """The lines of the tables by part."""
    rows: dict[str, list[list[str]]] = {}
    for comparison in comparisons:
        rows.setdefault(comparison.part, []).append(_comparison_row(comparison))
    return rows


def _comparison_row(one: Comparison) -> list[str]:
    bounds = [f">= {_short(one.at_least)}"] if one.at_least is not None else []
    bounds += [f"<= {_short(one.at_most)}"] if one.at_most is not None else []
    return [
        f"{one.case}: {one.mine}",
        f"{_around(one.values)} {one.unit}",
        one.peer,
        f"{_around(one.peer_values)} {one.unit}",
        _around(one.ratios),
        ", ".join(bounds),
        one.verdict,
    ]


def _around(values: list[float]) -> str:
    median = _short(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({_short(min(values))}-{_short(max(values))})"


def _short(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spread(values: list[float], style: str) -> tuple[str, str]:
    median, lowest, highest = statistics.median(values), min(values), max(values)
    return f"{median:{style}}", f"({lowest:{style}}-{highest:{style}})"


def markdown_table(headings: tuple[str, ...], rows: list[list[str]]) -> str:
    """A Markdown table whose first column is aligned to the left."""
    alignment = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, alignment, *rows))
