"""What a person sees of a run: the start block, then a live bar on a terminal or plain lines in a pipe."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any, Optional

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from paddle_resume.checkpoint.phases import DONE
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.run_view import RunView
from paddle_resume.translations import heading, labelled
from paddle_resume.translations.console import Console


class RunConsole(Callback):
    """Prints a run's progress; `verbosity` 0 leaves only what needs attention, 2 adds every save.

    `facts` are (label, text) lines for the start block.
    """

    def __init__(self, facts: list[tuple[str, str]], verbosity: int = 1, console: Optional[Console] = None) -> None:
        self._facts = facts
        self._verbosity = verbosity
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._bar: Optional[Progress] = None
        self._task: Optional[TaskID] = None
        self._since = monotonic()
        self._since_step = 0
        self._per_step: Optional[float] = None

    def on_train_begin(self, run: RunView) -> None:
        for label, text in [*self._facts, *_position(run)]:
            self._print(labelled(label, text))
        if run.phase == DONE:
            self._print(
                f"This run is complete ({run.step} steps): nothing is left to do. "
                f"{_figures(run.results, whole_tags=True)}"
            )
        self._since, self._since_step = monotonic(), run.step
        if self._console.is_terminal and self._verbosity > 0 and run.phase != DONE:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(), console=self._console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(heading("train"), total=run.length.total_steps, completed=run.step)

    def on_train_end(self, run: RunView) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_epoch_begin(self, run: RunView) -> None:
        # What lies between two epochs, evaluation and saving, is not the pace of training.
        self._since, self._since_step = monotonic(), run.step

    def on_step_end(self, run: RunView) -> None:
        # A terminal is redrawn ten times a second at most; that needs no update at each of a thousand steps.
        if self._bar is not None and self._task is not None and run.step % 10 == 0:
            self._bar.update(self._task, completed=run.step)

    def on_log(self, run: RunView, scalars: dict[str, float]) -> None:
        if "train/loss" in scalars:
            self._print(f"{_where(run)}{self._pace(run, scalars)}")
        else:
            split = next(iter(scalars)).split("/")[0]
            self._print(f"[{split}] epoch: {run.epoch}, {_figures(scalars)}")

    def on_save(self, run: RunView, prefix: Path) -> None:
        if self._verbosity > 1:
            self._print(f"Saved {prefix}.")

    def on_message(self, run: RunView, text: str) -> None:
        self._console.print(text, style="yellow", markup=False)

    def _pace(self, run: RunView, scalars: dict[str, float]) -> str:
        now, step = monotonic(), run.step
        if step > self._since_step:
            self._per_step = (now - self._since) / (step - self._since_step)
        self._since, self._since_step = now, step
        text = _figures(scalars)
        if self._per_step:
            text += f", samples/s: {run.length.samples_per_step / self._per_step:.0f}"
            total = run.length.total_steps
            if total is not None:
                text += f", eta: {_clock(self._per_step * max(0, total - step))}"
        return text

    def _print(self, text: str) -> None:
        if self._verbosity > 0:
            self._console.print(text, markup=False)


def _position(run: RunView) -> list[tuple[str, str]]:
    """What was resumed, from which step, and the run's history so far."""
    if run.restored is None:
        return [("Resume", "nothing to resume: a fresh start")]
    lines = [("Resume", f"{run.restored.prefix}, step {run.restored.step}, next: {run.phase}")]
    resumes, inexact = run.lineage.resumes, run.lineage.inexact_since
    story = f"{len(resumes)} resume{'s' if len(resumes) > 1 else ''}"
    story += ", all exact" if inexact is None else f", inexact since step {inexact}"
    lines.append(("Lineage", story))
    lines += [("Changed", str(difference)) for difference in run.restored.differences]
    lines += [("Changed", f"{change} (allowed, from here on)") for change in run.restored.changes]
    return lines


def _where(run: RunView) -> str:
    per_epoch = run.length.steps_per_epoch
    if per_epoch is None:
        return f"[train] epoch: {run.epoch}, step: {run.step}, "
    return f"[train] epoch: {run.epoch}, step: {run.steps_in_epoch}/{per_epoch}, "


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
