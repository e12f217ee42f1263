"""What a run says of itself in figures: its log records, its pictures, and the latest values by tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

import numpy as np

from paddle_resume.loggers.logbook import Logbook
from paddle_resume.metrics import RunningMetrics
from paddle_resume.training.divergence import Divergence
from paddle_resume.training.progress import Progress


class RunLog:
    """Writes training and evaluation results to the logs, and tells callbacks of them."""

    def __init__(
        self,
        logbook: Logbook,
        progress: Progress,
        metrics: RunningMetrics,
        divergence: Divergence,
        call: Callable[..., None],
    ) -> None:
        self._logbook = logbook
        self._progress = progress
        self._metrics = metrics
        self._divergence = divergence
        self._call = call

    def training(self) -> None:
        """The means since the last record, if there was a step since; raises NonFiniteLossError."""
        if not self._metrics.samples:
            return
        self._divergence.check_losses(self._metrics)
        self._metrics.gather()
        scalars = {**self._metrics.results(), "lr": self._progress.learning_rate}
        self.write("train", scalars, self._metrics.pictures(), self._progress.step)
        self._metrics.reset()

    def write(
        self, split: str, scalars: Mapping[str, float], pictures: Mapping[str, np.ndarray], at: int
    ) -> dict[str, float]:
        """Log the values of one part of the data at a step or an epoch; returns them by tag, such as `valid/acc`."""
        tagged = self._logbook.write(split, scalars, at)
        self._logbook.draw(split, pictures, at)
        self._progress.results.update(tagged)
        self._call("on_log", tagged)
        return tagged
