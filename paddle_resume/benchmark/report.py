"""What a benchmark found, for a person: a table on the console, and its section of docs/benchmarks.md."""

from __future__ import annotations

import datetime
import re
import statistics
from pathlib import Path
from typing import Any

from rich.table import Table

from paddle_resume.benchmark.throughput import BATCH_SIZE, PEERS, SHARE_TARGET, TRAINER, Throughput

_PAGE = """# Benchmarks

Every number on this page was written by `tools/benchmark.py`, which runs the contestants side by side.
"""

_THROUGHPUT = """## Training throughput

{machine}. {date}.

    python tools/benchmark.py throughput --rounds {rounds} --steps {steps}

The digit network `MNIST` (two convolutions, one linear layer), Adam with PolynomialDecay, batches of {batch_size} from
the real MNIST files, on the CPU. Each round runs every contestant once, in an order that rotates, in a fresh process:
{warmup} steps to warm up, then {steps} that count. Shown are the median of the rounds (here {rounds}) and, in brackets,
the lowest and the highest. A ratio compares the trainer with a peer of the same round.

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


def throughput_table(found: Throughput) -> Table:
    """The contestants, what each reached, and the trainer's ratio to each peer."""
    table = Table(title=f"Training throughput (rounds: {found.rounds}, steps: {found.steps})")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == _HEADINGS[0] else "right")
    for row in _rows(found):
        table.add_row(*row)
    return table


def share_table(found: Throughput) -> Table:
    """The trainer's share of a step, with and without what it takes to bring the batch."""
    table = Table(title=f"The trainer's share of a step (steps: {found.share['steps']})")
    for heading in _SHARE_HEADINGS:
        table.add_column(heading, justify="left" if heading == _SHARE_HEADINGS[0] else "right")
    for row in _share_rows(found):
        table.add_row(*row)
    return table


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
        table=_markdown(_HEADINGS, _rows(found)),
        setup=", ".join(variables) or "nothing set",
        share=_markdown(_SHARE_HEADINGS, _share_rows(found)),
        share_target=SHARE_TARGET,
        share_steps=found.share["steps"],
    )


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
_SHARE_HEADINGS = ("share of a step", "median", "mean", "target", "met")


def _rows(found: Throughput) -> list[list[str]]:
    rows = [[TRAINER.name, *_spread(found.samples_per_second[TRAINER.name], ",.0f"), "", "", "", ""]]
    for peer in PEERS:
        speed = _spread(found.samples_per_second[peer.name], ",.0f")
        ratio = _spread(found.ratios(peer), ".2f")
        rows.append([peer.name, *speed, *ratio, f">= {peer.target}", "yes" if found.is_met(peer) else "no"])
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
                "yes" if share["median"] < SHARE_TARGET else "no",
            ]
        )
    return rows


def _spread(values: list[float], style: str) -> tuple[str, str]:
    median, lowest, highest = statistics.median(values), min(values), max(values)
    return f"{median:{style}}", f"({lowest:{style}}-{highest:{style}})"


def _markdown(headings: tuple[str, ...], rows: list[list[str]]) -> str:
    alignment = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, alignment, *rows))
