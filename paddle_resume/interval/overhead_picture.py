"""Draws the overhead over the interval, with its parts, and marks the intervals that are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paddle_resume.interval.costs import Costs
from paddle_resume.interval.interval_report import Row, show_seconds
from paddle_resume.pictures.figure import COLORS, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 300
_MARGIN = 10.0
# Beyond this the curve would flatten everything worth seeing.
_HIGHEST_TIMES_BEST = 6


def draw_overhead(costs: Costs, rows: Sequence[Row]) -> Figure:
    """The total overhead and its three parts in percent, over the interval on a logarithmic axis."""
    low = costs.usable(min(row.seconds for row in rows) / _MARGIN)
    high = max(row.seconds for row in rows) * _MARGIN
    intervals = [low * (high / low) ** (i / (_POINTS - 1)) for i in range(_POINTS)]
    found = [costs.overhead(interval) for interval in intervals]
    parts = {
        "all": ([each.total for each in found], 2.0, "-"),
        "saves": ([each.saves for each in found], 1.2, "--"),
        "lost work": ([each.lost for each in found], 1.2, "-."),
        "restarts": ([each.restarts for each in found], 1.2, ":"),
    }
    figure = new_figure(7.2, 4.2)
    with style():
        panel = figure.subplots()
        for (name, (shares, width, line)), color in zip(parts.items(), (COLORS[-1], *COLORS)):
            percents = [100 * share if math.isfinite(share) else math.nan for share in shares]
            panel.plot(intervals, percents, label=name, linewidth=width, linestyle=line, color=color)
        shown = [row for row in rows if math.isfinite(row.overhead.total)]
        for row, color in zip(shown, COLORS[3:] * len(shown)):
            label = f"{row.name}: {show_seconds(row.seconds)}"
            panel.plot(row.seconds, 100 * row.overhead.total, "o", markersize=6, color=color, label=label)
        finite = [each.total for each in found if math.isfinite(each.total)]
        if finite:
            highest = max([_HIGHEST_TIMES_BEST * min(finite), *(1.15 * row.overhead.total for row in shown)])
            panel.set_ylim(0, 100 * highest)
        panel.set_xscale("log")
        panel.set_xlabel("seconds of training from save to save")
        panel.set_ylabel("overhead, % of the useful work")
        panel.set_title(f"A failure every {show_seconds(costs.mtbf)}, a save stalls {show_seconds(costs.stall)}")
        figure.legend(loc="outside right upper")
    return figure
