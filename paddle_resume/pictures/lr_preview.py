"""A picture of a config's learning rate over the whole run, made before anything is trained."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from paddle_resume.builders.data import build_data
from paddle_resume.builders.lr_schedule import build_rate, check_rate, rates_of_steps
from paddle_resume.builders.model import build_metrics
from paddle_resume.builders.run import run_length
from paddle_resume.config import Config
from paddle_resume.errors import ConfigError
from paddle_resume.lr.warmup import Warmup
from paddle_resume.metrics import evaluation_tags
from paddle_resume.pictures.figure import COLORS, new_figure, style
from paddle_resume.translations import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More than a picture has columns; of longer runs the extremes of each column are drawn.
_COLUMNS = 2000
_MOST_EPOCH_LINES = 20


@dataclass(frozen=True)
class LRPreview:
    """The rate of each step of a run [steps], and what a reader needs to know about it."""

    title: str
    rates: np.ndarray
    per_epoch: Optional[int]
    warmup_steps: int = 0
    metric: Optional[str] = None
    """What a ReduceOnPlateau watches: then the rate is drawn as if it never reduced."""

    def text(self) -> str:
        """First, highest and last rate, on one line."""
        peak = int(self.rates.argmax())
        steps = len(self.rates)
        epochs = f" ({steps / self.per_epoch:g} epochs of {self.per_epoch})" if self.per_epoch else ""
        return (
            f"{self.title}: {steps} steps{epochs}; first {self.rates[0]:.6g}, peak {self.rates[peak]:.6g} at step "
            f"{peak}, last {self.rates[-1]:.6g}."
        )


def preview_rates(config: Config) -> LRPreview:
    """Step the config's schedule through the whole run, without a model; the data is read for its length.

    Raises ConfigError, also when the length is not known.
    """
    check_rate(config)
    data = build_data(config)
    length = run_length(config, data)
    if length.total_steps is None:
        raise ConfigError(f"The length of {config.data.name} is not known; set trainer.max_steps.")
    rate = build_rate(
        config, length, evaluation_tags(build_metrics(config, data.train)) if data.valid is not None else []
    )
    per_epoch = length.steps_per_epoch
    ends = range(per_epoch, length.total_steps + 1, per_epoch) if per_epoch else ()
    rates = np.fromiter(_with_progress(rates_of_steps(rate, length.total_steps, ends), length.total_steps), "float64")
    given = config.optimizer.lr
    return LRPreview(
        title=f"{config.run.name}: {'constant' if isinstance(given, float) else given.name}",
        rates=rates,
        per_epoch=per_epoch,
        warmup_steps=min(rate.value.steps, length.total_steps) if isinstance(rate.value, Warmup) else 0,
        metric=rate.metric,
    )


def draw_rates(preview: LRPreview) -> Figure:
    """The rates by step, with the epochs along the top; raises PaddleResumeError without Matplotlib."""
    figure = new_figure(9, 4.5)
    with style():
        axes = figure.add_subplot()
        steps = _downsampled(preview.rates)
        # A rate holds from its step to the next one: a staircase, which a long run shows as a curve.
        axes.step(steps, preview.rates[steps], where="post", linewidth=1.8, color=COLORS[0])
        _mark_ends_and_peak(axes, preview)
        _mark_epochs(axes, preview)
        if preview.warmup_steps:
            axes.axvspan(0, preview.warmup_steps, color=COLORS[4], alpha=0.2, linewidth=0, label="warm-up")
            axes.legend(loc="upper right")
        note = f"\ndrawn as if it never reduced; it does when {preview.metric} stalls" if preview.metric else ""
        axes.set_title(preview.title + note, loc="left")
        axes.set_xlabel("step")
        axes.set_ylabel("learning rate")
        axes.set_xlim(0, len(preview.rates))
        axes.set_ylim(0, 1.25 * max(preview.rates.max(), 1e-12))  # Room for the labels above the highest rate.
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=True)
    return figure


def _downsampled(rates: np.ndarray) -> np.ndarray:
    """The steps to draw: all, or of a long run the first, the last, and the lowest and highest of each column."""
    if len(rates) <= 2 * _COLUMNS:
        return np.arange(len(rates))
    parts = np.array_split(np.arange(len(rates)), _COLUMNS)
    extremes = [part[index] for part in parts for index in (rates[part].argmin(), rates[part].argmax())]
    return np.unique([0, *extremes, len(rates) - 1])


def _mark_ends_and_peak(axes: Axes, preview: LRPreview) -> None:
    peak = int(preview.rates.argmax())
    places: dict[int, tuple[int, int]] = {0: (6, 8), len(preview.rates) - 1: (-6, 8), peak: (6, 6)}
    for step, place in places.items():
        axes.plot([step], [preview.rates[step]], "o", color=COLORS[0], markersize=4, clip_on=False)
        axes.annotate(
            f"{preview.rates[step]:.3g}",
            (step, preview.rates[step]),
            xytext=place,
            textcoords="offset points",
            ha="left" if place[0] > 0 else "right",
        )


def _mark_epochs(axes: Axes, preview: LRPreview) -> None:
    from matplotlib.ticker import MaxNLocator

    per_epoch = preview.per_epoch
    if not per_epoch:
        return
    epochs = len(preview.rates) // per_epoch
    every = -(-max(1, epochs) // _MOST_EPOCH_LINES)
    for epoch in range(every, epochs + 1, every):
        axes.axvline(epoch * per_epoch, color="#999999", linewidth=0.6, alpha=0.6, zorder=0)
    functions: Any = (lambda step: step / per_epoch, lambda epoch: epoch * per_epoch)
    top = axes.secondary_xaxis("top", functions=functions)
    top.set_xlabel("epoch")
    top.xaxis.set_major_locator(MaxNLocator(integer=True))


def _with_progress(rates: Any, steps: int) -> Any:
    """A bar on a terminal, for a run of so many steps that stepping through them takes a while."""
    if steps < 200_000 or not sys.stderr.isatty():
        return rates
    from rich.progress import track

    from paddle_resume.translations.console import Console

    return track(
        rates, total=steps, description=shown("Stepping the schedule"), console=Console(stderr=True), transient=True
    )
