"""Draws the curves of one run or several: each metric and the learning rate, by step and by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from paddle_resume.pictures.figure import COLORS, new_figure, style
from paddle_resume.pictures.history import TRAIN, History, Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIRST, _LAST = ("loss", "acc"), ("lr",)
_NAMES = {"acc": "accuracy", "lr": "learning rate"}
# How the parts of the data are drawn: training as a line, the others by points on it.
_LOOKS: dict[str, dict[str, Any]] = {
    TRAIN: {"linewidth": 1.3, "alpha": 0.75},
    "valid": {"linewidth": 1.3, "linestyle": "--", "marker": "o", "markersize": 4},
    "test": {"linestyle": "none", "marker": "*", "markersize": 10},
}
_OTHER = {"linestyle": ":", "marker": "s", "markersize": 4}


def draw_curves(histories: Sequence[History]) -> Figure:
    """A row of panels for each metric: left by step, and right by epoch if each run tells how long one is.

    The runs lie over each other, one color each; where a run was resumed there is a thin vertical line.
    """
    metrics = _in_order(histories)
    by_epoch = all(history.steps_per_epoch for history in histories)
    columns = 2 if by_epoch else 1
    figure = new_figure(5.6 * columns, 2.5 * len(metrics) + 0.5)
    with style():
        grid = figure.subplots(len(metrics), columns, squeeze=False, sharex="col")
        for panels, metric in zip(grid, metrics):
            for panel, by in zip(panels, ("step", "epoch")):
                _draw_panel(panel, histories, metric, by)
            panels[0].set_ylabel(_NAMES.get(metric, metric))
        for panel, label in zip(grid[-1], ("steps", "epochs")):
            panel.set_xlabel(label)
            panel.xaxis.get_major_locator().set_params(integer=True)
        figure.align_ylabels(grid[:, 0])
        _draw_legend(figure, grid)
    return figure


def _in_order(histories: Sequence[History]) -> list[str]:
    found = dict.fromkeys(metric for history in histories for metric in history.metrics)
    middle = [metric for metric in found if metric not in (*_FIRST, *_LAST)]
    return [m for m in (*_FIRST, *middle, *_LAST) if m in found]


def _draw_panel(panel: Any, histories: Sequence[History], metric: str, by: str) -> None:
    for history, color in zip(histories, _cycle(len(histories))):
        for part, series in history.metrics.get(metric, {}).items():
            label = part if len(histories) == 1 else f"{history.name}, {part}"
            x, y = _points(series, history, part, metric, by)
            look = dict(_LOOKS.get(part, _OTHER))
            if part == TRAIN and (len(x) == 1 or (by == "epoch" and metric not in _LAST)):
                look["marker"] = "."
            panel.plot(x, y, color=color, label=label, **look)
        for i, step in enumerate(history.resumes):
            at = step if by == "step" else step / (history.steps_per_epoch or 1)
            name = "resumed" if len(histories) == 1 else f"{history.name}, resumed"
            panel.axvline(at, color=color, linewidth=0.7, alpha=0.5, zorder=0.5, label=None if i else name)


def _points(series: Series, history: History, part: str, metric: str, by: str) -> tuple[list[float], list[float]]:
    if by == "step":
        return [float(step) for step in series.steps], series.values
    assert history.steps_per_epoch is not None
    return series.by_epoch(history.steps_per_epoch, mean=part == TRAIN and metric not in _LAST)


def _draw_legend(figure: Figure, grid: Any) -> None:
    handles: dict[str, Any] = {}
    for panel in grid.flat:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=min(4, max(1, len(handles))))


def _cycle(count: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(count)]
