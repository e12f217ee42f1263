"""Reads durations as people write them, and shows intervals beside each other as a table or as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Optional

from paddle_resume.errors import ConfigError
from paddle_resume.interval.costs import Costs, Overhead

_UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d|steps|)\s*")


@dataclass(frozen=True)
class Row:
    """One interval: whose it is, how long, and what it costs."""

    name: str
    seconds: float
    steps: int
    overhead: Overhead
    note: str = ""


def read_seconds(text: str, option: str, step: Optional[float] = None) -> float:
    """`250ms`, `20s`, `3m`, `12h` or `60d` in seconds, and with the length of a `step` also `500steps`.

    Raises ConfigError naming the option.
    """
    match = _DURATION.fullmatch(text)
    steps = "" if step is None else ", or as steps: 500steps"
    if match is None or (match[2] == "steps" and step is None):
        raise ConfigError(f"{option} {text}: expected a time with its unit, such as 250ms, 20s, 3m, 12h or 60d{steps}.")
    seconds = float(match[1]) * (step or 0.0 if match[2] == "steps" else _UNITS[match[2]])
    if seconds <= 0 and option not in ("--persist", "--restart"):
        raise ConfigError(f"{option} {text}: expected more than nothing.")
    return seconds


def compare_intervals(costs: Costs, given: Sequence[str]) -> list[Row]:
    """Young's and Daly's interval and the given ones; those too short for the saves are raised, and say so."""
    wanted = [("Young", costs.young), ("Daly", costs.daly)]
    wanted += [(text, read_seconds(text, "--compare", costs.step)) for text in given]
    rows = []
    for name, seconds in wanted:
        usable = costs.usable(seconds)
        note = "" if usable == seconds else f"raised from {show_seconds(seconds)}: the save before, or a step, takes it"
        rows.append(Row(name, usable, costs.steps(usable), costs.overhead(usable), note))
    return rows


def print_table(costs: Costs, nodes: int, rows: Sequence[Row]) -> None:
    """The rows as a table, and what to write into the config."""
    from rich.table import Table

    from paddle_resume.translations.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=130)
    table = Table()
    for title in ("interval", "time", "steps", "overhead", "saves", "lost work", "restarts"):
        table.add_column(title, justify="left" if title == "interval" else "right")
    for row in rows:
        parts = (row.overhead.total, row.overhead.saves, row.overhead.lost, row.overhead.restarts)
        table.add_row(row.name, show_seconds(row.seconds), f"{row.steps:,}", *map(_percent, parts))
    whole = f"{nodes:,} node{'s' if nodes > 1 else ''}"
    console.print(f"A failure every {show_seconds(costs.mtbf)} on {whole}. Expected, as shares of the useful work:")
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.name}: {row.note}.")
    daly = next(row for row in rows if row.name == "Daly")
    console.print(f"For the config: -o checkpoint.every_steps={daly.steps}")


def print_json(costs: Costs, nodes: int, rows: Sequence[Row]) -> None:
    """Everything in seconds and shares, as one JSON object; an overhead without bound is null."""
    intervals = [
        {
            "name": row.name,
            "seconds": row.seconds,
            "steps": row.steps,
            "overhead": _finite(row.overhead.total),
            **{name: _finite(value) for name, value in asdict(row.overhead).items()},
            "note": row.note,
        }
        for row in rows
    ]
    print(json.dumps({"costs": asdict(costs), "nodes": nodes, "intervals": intervals}, indent=2))


def show_seconds(seconds: float) -> str:
    """A time in the unit that suits it: `250 ms`, `41.2 s`, `9.31 min`, `3.4 h`, `12.5 d`."""
    for limit, divisor, unit in ((1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86400:,.3g} d"


def _percent(share: float) -> str:
    return "without end" if math.isinf(share) else f"{share:.2%}"


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None
