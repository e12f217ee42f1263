"""The bar of a run: one line that is redrawn, for the steps of an epoch and for the batches of an evaluation."""

from __future__ import annotations

from time import monotonic
from typing import Optional

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from paddle_resume.translations.console import Console

_SECONDS = 0.1  # A terminal is redrawn no more often, whatever the pace of the steps.


class ProgressBar:
    """A line below what the console prints; `steps` of an epoch, None where nobody knows how many there are."""

    def __init__(self, console: Console, steps: Optional[int]) -> None:
        text = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = BarColumn(10, table_column=Column(width=10)), TextColumn("{task.description}", table_column=text)
        self._progress = Progress(*columns, console=console, transient=True, expand=True)
        self._progress.start()
        self._epoch = self._progress.add_task("", total=steps, visible=False)
        self._evaluation = self._progress.add_task("", total=None, visible=False)
        self._drawn = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to draw it anew."""
        return monotonic() - self._drawn >= _SECONDS

    def show(self, steps: int, text: str) -> None:
        """So many steps of the epoch have been made; `text` says all else."""
        self._drawn = monotonic()
        self._progress.update(self._epoch, completed=steps, description=text, visible=True)

    def begin_evaluation(self, text: str) -> None:
        """The line of training gives way to that of an evaluation."""
        self._progress.update(self._epoch, visible=False)
        self._progress.reset(self._evaluation, total=None, description=text, visible=True)

    def advance_evaluation(self) -> None:
        """A batch was evaluated."""
        if self.is_due:
            self._drawn = monotonic()
            self._progress.update(self._evaluation, advance=1)

    def end_evaluation(self) -> None:
        """The evaluation is over."""
        self._progress.update(self._evaluation, visible=False)

    def stop(self) -> None:
        """The line goes away."""
        self._progress.stop()
