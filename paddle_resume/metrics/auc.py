"""The area under the ROC curve, from counts of scores in narrow intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np

from paddle_resume.errors import ConfigError
from paddle_resume.metrics.classification import CountMetric, check_average
from paddle_resume.metrics.counts import ScoreCounts
from paddle_resume.metrics.predictions import PredictionRule

AVERAGES = ("macro", "weighted", "none")


class Auc(CountMetric):
    """The probability that a sample of a class has a higher score for it than a sample of another; named `auc`.

    Of two classes it is that of class 1; of more, each class against all others, averaged. Scores are the log-odds
    of the class, counted in `bins` intervals: two that share one count as equal, which `margin()` bounds. What is
    kept is thus two numbers for each class and bin, however many samples come in.

    Args:
        average: `macro`, the mean over the classes; `weighted`, the mean over the samples; `none`, each class by
            itself, named `auc/<class>`. Classes with no sample, or with all of them, have no AUC and are left out.
        bins: intervals, 2 or more.
        from_logits: whether the outputs are logits or probabilities; see `PredictionRule`.

    Raises ConfigError for other arguments. The formula is that of the Mann-Whitney U statistic with ties counted
    half (Hanley and McNeil, Radiology 143, 1982).
    """

    counts: ScoreCounts

    def __init__(
        self,
        average: str = "macro",
        name: Optional[str] = None,
        bins: int = 4096,
        from_logits: bool = True,
        ignore_index: Optional[int] = None,
        class_names: Optional[Sequence[str]] = None,
    ) -> None:
        check_average(self, average, AVERAGES)
        if type(bins) is not int or bins < 2:
            raise ConfigError(f"metrics: Auc takes a whole number of 2 or more as bins, found {bins!r}.")
        rule = PredictionRule(from_logits=from_logits, ignore_index=ignore_index)
        word = "_weighted" if average == "weighted" else ""
        counts = ScoreCounts(rule, bins)
        super().__init__(name or f"auc{word}", counts, average=average, bins=bins, **vars(rule))
        self.average = average
        self.from_logits = from_logits
        self.class_names = class_names

    def name(self) -> Any:
        if self.average != "none":
            return self._name
        classes = len(self.class_names or ()) if self.counts.table is None else self.counts.table.shape[1]
        return [f"{self._name}/{self._label_of(index)}" for index in ([1] if classes in (1, 2) else range(classes))]

    def accumulate(self) -> Union[float, list[float]]:
        """The area in 0..1, or with `none` that of each class; NaN where no class has one."""
        return self._averaged([_area(own, rest) for own, rest in self._each_class()])

    def margin(self) -> Union[float, list[float]]:
        """How far the area of the scores themselves can be from `accumulate()` at most: half of all ties."""
        return self._averaged([_ties(own, rest) / 2 for own, rest in self._each_class()])

    def _each_class(self) -> list[tuple[np.ndarray, np.ndarray]]:
        table = self.counts.table
        return [] if table is None else list(zip(table[0], table[1]))

    def _averaged(self, values: list[float]) -> Union[float, list[float]]:
        if self.average == "none":
            return values
        weights = [int(own.sum()) if self.average == "weighted" else 1 for own, _ in self._each_class()]
        defined = [(value, weight) for value, weight in zip(values, weights) if value == value]
        total = sum(weight for _, weight in defined)
        return sum(value * weight for value, weight in defined) / total if total else float("nan")


def _area(own: np.ndarray, rest: np.ndarray) -> float:
    """The share of pairs in the right order, ties as half, from counts by rising score; exact but for one division."""
    below = np.cumsum(rest) - rest
    ordered = int((own * (2 * below + rest)).sum())
    return _of_pairs(ordered, own, rest) / 2


def _ties(own: np.ndarray, rest: np.ndarray) -> float:
    return _of_pairs(int((own * rest).sum()), own, rest)


def _of_pairs(count: int, own: np.ndarray, rest: np.ndarray) -> float:
    pairs = int(own.sum()) * int(rest.sum())
    return count / pairs if pairs else float("nan")
