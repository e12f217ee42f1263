"""Whole numbers that sum up any number of predictions: what classification metrics keep, and can share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, Optional

import numpy as np

from paddle_resume.errors import ConfigError
from paddle_resume.metrics.predictions import PredictionRule, Predictions, require_labels, require_probabilities

SPAN = 20.0
"""Scores are counted by their log-odds from -SPAN to SPAN, 2e-9 to 1 - 2e-9 as probabilities."""


class Counts(ABC):
    """What adding up batches leaves: integers, so neither their order nor their cut changes the sum.

    `table` is an int64 array, or None as long as nothing came in and its shape is not known.
    """

    def __init__(self, rule: PredictionRule) -> None:
        self.rule = rule
        self.table: Optional[np.ndarray] = None

    @property
    def key(self) -> Hashable:
        """Counts with equal keys have equal tables after the same batches."""
        return type(self), self.rule

    @abstractmethod
    def add(self, batch: Predictions) -> None:
        """Count the batch; raises ConfigError or DataError, and has counted nothing then."""

    def reset(self) -> None:
        self.table = None

    def state_dict(self) -> dict[str, Any]:
        """The table's shape, and where in it which numbers are, without the zeros."""
        if self.table is None:
            return {}
        at = np.flatnonzero(self.table)
        found = self.table.reshape(-1)[at]
        return {"shape": list(self.table.shape), "at": _smallest_integers(at), "count": _smallest_integers(found)}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.table = None
        if state:
            self.table = np.zeros(state["shape"], np.int64)
            self.table.reshape(-1)[state["at"]] = state["count"]

    def merge(self, state: dict[str, Any]) -> None:
        """Add what other counts of the same key came to, given their `state_dict()`."""
        if self.table is None:
            self.set_state_dict(state)
        elif state:
            self.table.reshape(-1)[state["at"]] += state["count"]

    def _table(self, batch: Predictions, *shape: int) -> np.ndarray:
        if self.table is None:
            self.table = np.zeros(shape, np.int64)
        elif self.table.shape != shape:
            raise ConfigError(
                f"metrics: the output has {batch.classes} classes in this batch, and had another number of them "
                "before; these metrics need the same classes throughout."
            )
        return self.table

    def _masked(self, batch: Predictions, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(labels [M], values [M, ...]) of the predictions that count, the labels checked."""
        labels, mask = batch.labels, batch.mask(self.rule)
        if mask is not None:
            labels, values = labels[mask], values[mask]
        return require_labels(labels, batch.classes), values


class CorrectCounts(Counts):
    """How many predictions were right, of how many; kept as plain numbers, since this runs at every step.

    Labels that are no class count as wrong; in a sequence, where they are often padding, they are an error.
    """

    def __init__(self, rule: PredictionRule) -> None:
        super().__init__(rule)
        self.correct = self.total = 0

    def add(self, batch: Predictions) -> None:
        predicted, labels = batch.predicted(self.rule), batch.labels
        if batch.is_sequence or self.rule.ignore_index is not None:
            labels, predicted = self._masked(batch, predicted)
        right = predicted == labels
        self.correct += int(np.count_nonzero(right))
        self.total += right.size

    def reset(self) -> None:
        self.correct = self.total = 0

    def state_dict(self) -> dict[str, Any]:
        return {"correct": self.correct, "total": self.total}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.correct, self.total = state["correct"], state["total"]

    def merge(self, state: dict[str, Any]) -> None:
        self.correct += state["correct"]
        self.total += state["total"]


class ConfusionCounts(Counts):
    """How often each class was taken for each: `table[label, predicted]`, [C, C]."""

    def add(self, batch: Predictions) -> None:
        labels, predicted = self._masked(batch, batch.predicted(self.rule))
        table = self._table(batch, batch.classes, batch.classes)
        np.add.at(table.reshape(-1), labels * batch.classes + predicted, 1)


class RankCounts(Counts):
    """How often the label's score was the highest, the second highest and so on: `table[rank]`, [C].

    Of equal scores the lower class index comes first, as in an argmax, and NaN before all numbers.
    """

    def add(self, batch: Predictions) -> None:
        if batch.single:
            raise ConfigError("metrics: TopK needs a score for each class, and the output has one score a sample.")
        labels, scores = self._masked(batch, batch.scores)
        own = np.take_along_axis(scores, labels[:, None], 1)
        # Not `scores > own`: so NaN counts as higher than the label's score, and a label's own NaN as the lowest.
        ahead = ~(scores <= own) | ((scores == own) & (np.arange(batch.classes) < labels[:, None]))
        rank = np.minimum(np.count_nonzero(ahead, axis=1), batch.classes - 1)
        np.add.at(self._table(batch, batch.classes), rank, 1)


class ScoreCounts(Counts):
    """How often each class's log-odds fell into which of `bins` equal intervals from -20 to 20 (and beyond).

    `table[0]` counts the samples of the class, `table[1]` all others; each is [C, bins], with C = 1 for two
    classes, where class 1 says all. Log-odds rather than probabilities: a trained network's probabilities crowd
    at 0 and 1, where equal steps of probability would tell few of them apart.
    """

    def __init__(self, rule: PredictionRule, bins: int) -> None:
        super().__init__(rule)
        self.bins = bins

    @property
    def key(self) -> Hashable:
        return super().key, self.bins

    def add(self, batch: Predictions) -> None:
        labels, scores = self._masked(batch, batch.scores)
        odds = self._log_odds(scores.astype(np.float64), batch.single)
        if batch.classes == 2:
            odds, of_class = odds[:, -1:], labels[:, None] == 1
        else:
            of_class = labels[:, None] == np.arange(batch.classes)
        place = np.floor((odds + SPAN) * (self.bins / (2 * SPAN)))
        # NaN, which has no place, is put to the lowest scores.
        place = np.clip(np.nan_to_num(place, nan=0.0), 0, self.bins - 1).astype(np.int64)
        columns = odds.shape[1]
        table = self._table(batch, 2, columns, self.bins)
        row = np.where(of_class, 0, columns) + np.arange(columns)
        np.add.at(table.reshape(-1), (row * self.bins + place).reshape(-1), 1)

    def _log_odds(self, scores: np.ndarray, single: bool) -> np.ndarray:
        """log(p / (1 - p)) of each class, float64 [M, C]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if not self.rule.from_logits:
                require_probabilities(scores)
                return np.log(scores) - np.log1p(-scores)
            if single:
                return scores
            _require_logits(scores)
            scores = scores - scores.max(1, keepdims=True)
            powers = np.exp(scores)
            return scores - np.log(powers.sum(1, keepdims=True) - powers)


def _require_logits(scores: np.ndarray) -> None:
    """Rows that are all at least 0 and add up to 1 went through a softmax already."""
    if len(scores) and scores.min() >= 0 and np.all(np.abs(scores.sum(1) - 1) < 1e-3):
        raise ConfigError(
            "metrics: each row of the output is at least 0 and adds up to 1: these are probabilities, and Auc takes "
            "them for logits. Set its from_logits: false."
        )


def _smallest_integers(values: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest unsigned type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
