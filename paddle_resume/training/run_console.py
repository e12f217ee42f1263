"""What a person sees of a run: the start block, then a live bar on a terminal or in a notebook, or plain lines."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Optional

from paddle_resume.checkpoint.phases import DONE
from paddle_resume.differences import leading
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.progress_bar import ProgressBar
from paddle_resume.training.run_view import RunView
from paddle_resume.translations import labelled
from paddle_resume.translations.console import Console

Facts = Sequence[tuple[str, str]]


class RunConsole(Callback):
    """Prints a run's progress; `verbosity` 0 leaves only what needs attention, 2 adds every save.

    `facts` are (label, text) lines for the start block.
    """

    only_watches = True

    def __init__(self, facts: Facts, verbosity: int = 1, console: Optional[Console] = None) -> None:
        self.facts = facts
        self._verbosity = verbosity
        self._console = console or _new_console()
        self._bar: Optional[ProgressBar] = None
        self._since = monotonic()
        self._since_step = 0
        self._per_step: Optional[float] = None

    def on_train_begin(self, run: RunView) -> None:
        for label, text in [*self.facts, *_position(run)]:
            self._print(labelled(label, text))
        if run.phase == DONE:
            self._print(
                f"This run is complete ({run.step} steps): nothing is left to do. "
                f"{_figures(run.results, whole_tags=True)}"
            )
        self._since, self._since_step = monotonic(), run.step
        has_bar = self._console.is_terminal or self._console.is_jupyter
        if has_bar and self._verbosity > 0 and run.phase != DONE:
            self._bar = ProgressBar(self._console, run.length.steps_per_epoch)

    def on_train_end(self, run: RunView) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_epoch_begin(self, run: RunView) -> None:
        # What lies between two epochs, evaluation and saving, is not the pace of training.
        self._since, self._since_step = monotonic(), run.step

    def on_step_end(self, run: RunView) -> None:
        if self._bar is not None and self._bar.is_due:
            scalars = {f"train/{name}": value for name, value in run.running.items()}
            self._bar.show(run.steps_in_epoch, f"{_where(run)}{_figures(scalars)}{self._pace(run)}")

    def on_evaluate_begin(self, run: RunView, split: str) -> None:
        if self._bar is not None:
            self._bar.begin_evaluation(f"epoch: {run.epoch}, evaluating {split}")

    def on_evaluate_step(self, run: RunView) -> None:
        if self._bar is not None:
            self._bar.advance_evaluation()

    def on_evaluate_end(self, run: RunView, split: str, results: dict[str, float]) -> None:
        if self._bar is not None:
            self._bar.end_evaluation()

    def on_log(self, run: RunView, scalars: dict[str, float]) -> None:
        if "train/loss" in scalars:
            self._print(f"[train] {_where(run)}{_figures(scalars)}{self._pace(run)}")
            self._since, self._since_step = monotonic(), run.step
        else:
            split = next(iter(scalars)).split("/")[0]
            self._print(f"[{split}] epoch: {run.epoch}, {_figures(scalars)}")

    def on_save(self, run: RunView, prefix: Path) -> None:
        if self._verbosity > 1:
            self._print(f"Saved {prefix}.")

    def on_message(self, run: RunView, text: str) -> None:
        self._console.print(text, style="yellow", markup=False)

    def _pace(self, run: RunView) -> str:
        """Samples a second since the last line, and the time that is left at this pace."""
        if run.step > self._since_step:
            self._per_step = (monotonic() - self._since) / (run.step - self._since_step)
        if not self._per_step:
            return ""
        text = f", samples/s: {run.length.samples_per_step / self._per_step:.0f}"
        total = run.length.total_steps
        if total is not None:
            text += f", eta: {_clock(self._per_step * max(0, total - run.step))}"
        return text

    def _print(self, text: str) -> None:
        if self._verbosity > 0:
            self._console.print(text, markup=False)


def _new_console() -> Console:
    """For standard output; in a notebook without the widgets that a bar is made of, one that prints plain lines."""
    made = Console(highlight=False, soft_wrap=True)
    if made.is_jupyter and find_spec("ipywidgets") is None:
        return Console(highlight=False, soft_wrap=True, force_jupyter=False, force_terminal=False)
    return made


def _position(run: RunView) -> list[tuple[str, str]]:
    """What was resumed, from which step, and the run's history so far."""
    if run.restored is None:
        return [("Resume", "nothing to resume: a fresh start")]
    lines = [("Resume", f"{run.restored.source}, step {run.restored.step}, next: {run.phase}")]
    resumes, inexact = run.lineage.resumes, run.lineage.inexact_since
    story = f"{len(resumes)} resume{'s' if len(resumes) > 1 else ''}"
    story += ", all exact" if inexact is None else f", inexact since step {inexact}"
    lines.append(("Lineage", story))
    lines += [("Changed", str(difference)) for difference in leading(run.restored.differences)]
    lines += [("Changed", f"{change} (allowed, from here on)") for change in leading(run.restored.changes)]
    return lines


def _where(run: RunView) -> str:
    per_epoch = run.length.steps_per_epoch
    if per_epoch is None:
        return f"epoch: {run.epoch}, step: {run.step}, "
    return f"epoch: {run.epoch}, step: {run.steps_in_epoch}/{per_epoch}, "


def _figures(scalars: dict[str, Any], whole_tags: bool = False) -> str:
    """The values as a line; those of single classes, `valid/f1/<class>`, as the lowest and the highest of them."""
    texts: dict[str, str] = {}
    of_classes: dict[str, list[tuple[float, str]]] = {}
    for tag, value in scalars.items():
        parts = tag.split("/", 2)
        shown = "/".join(parts[:2]) if whole_tags else parts[:2][-1]
        if len(parts) == 3:
            of_classes.setdefault(shown, []).append((value, parts[2]))
            (low, lowest), (high, highest) = min(of_classes[shown]), max(of_classes[shown])
            texts[shown] = f"{low:.6g} ({lowest}) to {high:.6g} ({highest})"
        else:
            texts[shown] = f"{value:.6g}"
    return ", ".join(f"{name}: {text}" for name, text in texts.items())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
