"""`prove --repeat`: two straight runs of a user's config, and where they part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Optional

from paddle_resume.testing.config_program import ConfigProgram, lives_of
from paddle_resume.testing.lives_bar import lives_bar
from paddle_resume.testing.repeat import Repetition, Row, repeat_and_compare
from paddle_resume.translations.console import Console
from paddle_resume.ui.tables import TablePrinter

_AROUND = 2
# Kinds of which a person wants one row: they are not in the order of a computation.
_TOGETHER = ("data", "generators", "weights before", "optimizer before", "update")
_MEANING = {
    "data": "The batch differs. Look for randomness or a clock of its own in the dataset, its transforms or the "
    "collate function.",
    "generators": "A generator stands elsewhere as the step begins. Something has seeded it, or has drawn from it "
    "another number of times: a callback, the dataset's constructor, code of yours at the start.",
    "weights before": "The weights differ as the step begins, and were the same after the one before. In step 0 look "
    "at how they are made; later at callbacks and at what an evaluation changes.",
    "optimizer before": "The optimizer differs as the step begins: its learning rate, or its state. Look at what "
    "decides the rate, and at callbacks.",
    "input": "What goes into this layer differs, and all layers before gave the same: look at what is computed between "
    "them, in the forward of the layer around it.",
    "forward": "What goes into this layer is the same, and what it gives is not: look at its forward.",
    "loss": "The model gave the same, and the loss is not: look at how it is computed.",
    "backward": "The gradients that come to this layer are the same, and those that it passes back are not: look at "
    "its backward, or at what else is computed from its input.",
    "gradient": "All gradients between the layers are the same, and that of this parameter is not: look at the layer "
    "that has it, and at what changes gradients.",
    "update": "All gradients are the same, and the weights after the update are not: look at the optimizer, and at "
    "what else writes to the weights within a step.",
}


def prove_repeat(
    config_path: str,
    overrides: Sequence[str],
    *,
    steps: Optional[int],
    processes: Optional[int] = None,
    as_json: bool = False,
) -> int:
    """Compare two straight runs of a config; prints what it does and returns the exit code, 0 or 1.

    `processes` train together, by default as many as the config's mesh has, or one. With `as_json` the outcome goes to
    standard output as one object, and all else to standard error. Raises PaddleResumeError if the config cannot run at
    all.
    """
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    program = ConfigProgram(config_path, overrides, steps)
    count = program.processes(processes)
    with lives_of(program) as (folder, start), lives_bar(console) as tell:
        found = repeat_and_compare(
            program.arguments, folder, processes=count, working_directory=Path.cwd(), tell=tell, start=start
        )
    if as_json:
        print(json.dumps(_outcome(found), indent=2))
    by = f" of {count} processes" if count > 1 else ""
    if found.same:
        console.print(f"Two runs, {found.steps} steps{by}: the same bits.")
        return 0
    if found.first_step is None:
        lines = "\n".join(found.differences)
        console.print(
            f"Two runs, {found.steps} steps{by}: the same bits in each step, and not in what they left:\n{lines}"
        )
        return 1
    _tell(found, console, f", rank {found.rank}" if count > 1 else "")
    return 1


def _tell(found: Repetition, console: Console, where: str) -> None:
    printer = TablePrinter(console)
    table = printer.table("", [f"step {found.first_step}{where}", "bits"])
    for label, bits in _shown(found.rows):
        printer.add(table, label, bits, style="red" if bits == "differs" else None)
    printer.show(table)
    first = found.first
    assert first is not None
    printer.say(
        f"Two runs differ, first in step {found.first_step}{where} (the first step is 0): {first}.", style="red"
    )
    if found.located:
        printer.say(_MEANING[first.kind])
        return
    printer.say(
        f"{2 * found.further_pairs} further runs did not part there: the difference comes by chance, and which layer "
        "it begins in is not known. Run this again; and think of threads, of clocks, and of what is done side by side."
    )


def _shown(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The rows around the first that differs, as (label, bits); of some kinds one row for all."""
    merged = _merged(rows)
    at = next(i for i, row in enumerate(merged) if not row.same)
    lines: list[tuple[str, str]] = []
    for near, group in groupby(enumerate(merged), lambda each: abs(each[0] - at) <= _AROUND or _is_first(each[1])):
        of_group = [row for _, row in group]
        if near:
            lines += [(str(row), "same" if row.same else "differs") for row in of_group]
        else:
            differ = sum(not row.same for row in of_group)
            lines.append((f"... {len(of_group)} more", f"{differ} differ" if differ else "same"))
    return lines


def _is_first(row: Row) -> bool:
    """Whether it is of what a step begins with, which is always shown."""
    return row.kind in _TOGETHER and row.kind != "update"


def _merged(rows: Sequence[Row]) -> list[Row]:
    merged: list[Row] = []
    for kind, of_kind in groupby(rows, key=lambda row: row.kind):
        group = list(of_kind)
        if kind in _TOGETHER:
            group = [next((row for row in group if not row.same), Row(kind, "", True))]
        merged += group
    return merged


def _outcome(found: Repetition) -> dict[str, object]:
    """What came of it, as plain values."""
    return {
        "same": found.same,
        "steps": found.steps,
        "first_step": found.first_step,
        "process": found.rank,
        "first": None if found.first is None else str(found.first),
        "located": found.located,
        "rows": [{"kind": row.kind, "what": row.what, "same": row.same} for row in found.rows],
        "differences": found.differences,
    }
