"""Metrics of classification that are ratios of counts: accuracy, top-k, precision, recall, F1, confusion matrix."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import paddle

from paddle_resume.errors import ConfigError
from paddle_resume.metrics.counts import ConfusionCounts, CorrectCounts, Counts, RankCounts
from paddle_resume.metrics.predictions import PredictionRule, Predictions

AVERAGES = ("auto", "macro", "micro", "weighted", "binary", "none")


class CountMetric(paddle.metric.Metric):
    """A metric that is a function of `counts`, which it may share with others.

    `arguments` are what it was built with, as far as they change what is counted or how it is summed up.
    """

    class_names: Optional[Sequence[str]] = None

    def __init__(self, name: str, counts: Counts, **arguments: Any) -> None:
        super().__init__()
        self._name = name
        self._arguments = arguments
        self.counts = counts

    def update(self, *args: Any) -> None:
        """Take in one batch, `update(output, label)`, as tensors or arrays; see Predictions for the shapes."""
        self.counts.add(Predictions(*args))

    def reset(self) -> None:
        self.counts.reset()

    def name(self) -> Any:  # Paddle says str, and gives lists itself
        return self._name

    def state_dict(self) -> dict[str, Any]:
        return {"name": self._name, "arguments": self._arguments, "counts": self.counts.state_dict()}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.counts.set_state_dict(state["counts"])

    def _label_of(self, index: int) -> str:
        """The class's name, fit to be the last part of a tag; its number if there are no such names."""
        names = [str(name).replace("/", "-").replace("%", "-") for name in self.class_names or ()]
        return names[index] if index < len(names) and len(set(names)) == len(names) else str(index)


class Accuracy(CountMetric):
    """Share of predictions that are the label, named `acc`.

    `threshold`, `from_logits` and `ignore_index` are those of `PredictionRule`; the first two matter for an output
    with one score a sample only.
    """

    counts: CorrectCounts

    def __init__(
        self,
        name: str = "acc",
        threshold: float = 0.5,
        from_logits: bool = True,
        ignore_index: Optional[int] = None,
    ) -> None:
        self.from_logits = from_logits
        rule = PredictionRule(threshold, from_logits, ignore_index)
        changed = vars(rule) if rule != PredictionRule() else {}
        super().__init__(name, CorrectCounts(rule), **changed)

    def accumulate(self) -> float:
        """The accuracy in 0..1; 0 if nothing came in."""
        return self.counts.correct / self.counts.total if self.counts.total else 0.0

    def state_dict(self) -> dict[str, Any]:
        # The names that the first version wrote, so that its checkpoints go on.
        counted = {"_correct": self.counts.correct, "_total": self.counts.total}
        return {"_name": self._name, **counted, **self._arguments}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.counts.correct, self.counts.total = state["_correct"], state["_total"]


class TopK(CountMetric):
    """Share of predictions whose label is among the `k` highest scores, named `top<k>`.

    Of equal scores the lower class index comes first. Needs a score for each class.
    """

    counts: RankCounts

    def __init__(self, k: int = 5, name: Optional[str] = None, ignore_index: Optional[int] = None) -> None:
        if type(k) is not int or k < 1:
            raise ConfigError(f"metrics: TopK takes a whole number of 1 or more as k, found {k!r}.")
        rule = PredictionRule(ignore_index=ignore_index)
        super().__init__(name or f"top{k}", RankCounts(rule), k=k, ignore_index=ignore_index)
        self.k = k

    def accumulate(self) -> float:
        """The share in 0..1; 0 if nothing came in. Raises ConfigError if there are fewer than `k` classes."""
        table = self.counts.table
        if table is None:
            return 0.0
        if self.k > len(table):
            raise ConfigError(
                f"metrics: TopK with k: {self.k} needs as many classes, and the output has {len(table)}; "
                "lower k, or leave the metric out."
            )
        return ratio(int(table[: self.k].sum()), int(table.sum()))


def check_average(metric: CountMetric, average: str, known: Sequence[str]) -> None:
    """Raises ConfigError unless `average` is one that the metric knows."""
    if average not in known:
        raise ConfigError(
            f"metrics: {type(metric).__name__} has no average {average!r}; expected one of {', '.join(known)}."
        )


class PerClass(CountMetric):
    """A ratio for each class, averaged as scikit-learn does; a class whose denominator is 0 has the value 0.

    Args:
        average: `macro`, the mean over the classes that occur among labels or predictions; `weighted`, the mean
            over the samples, each with the value of its label's class; `micro`, the ratio of all classes' counts
            together; `binary`, class 1 alone; `none`, each class by itself, named `<name>/<class>`; `auto`,
            `binary` for two classes and `macro` for more.
        name: how it is called in the logs; the default tells micro and weighted averages apart.
        threshold, from_logits, ignore_index: see `PredictionRule`; the first two matter for one score a sample only.
        class_names: one for each class, used with `none`; the default is the class's number.

    Raises ConfigError for another average.
    """

    counts: ConfusionCounts
    _default_name = ""

    def __init__(
        self,
        average: str = "auto",
        name: Optional[str] = None,
        threshold: float = 0.5,
        from_logits: bool = True,
        ignore_index: Optional[int] = None,
        class_names: Optional[Sequence[str]] = None,
    ) -> None:
        check_average(self, average, AVERAGES)
        word = f"_{average}" if average in ("micro", "weighted") else ""
        rule = PredictionRule(threshold, from_logits, ignore_index)
        super().__init__(name or self._default_name + word, ConfusionCounts(rule), average=average, **vars(rule))
        self.average = average
        self.from_logits = from_logits
        self.class_names = class_names

    @abstractmethod
    def _ratio(self, right: Any, predicted: Any, actual: Any) -> tuple[Any, Any]:
        """Numerator and denominator, from how often a class was predicted rightly, predicted, and the label."""

    def name(self) -> Any:
        if self.average != "none":
            return self._name
        classes = len(self.class_names or ()) if self.counts.table is None else len(self.counts.table)
        return [f"{self._name}/{self._label_of(index)}" for index in range(classes)]

    def accumulate(self) -> Union[float, list[float]]:
        """The value in 0..1 (0 if nothing came in), or with `none` that of each class."""
        table = self.counts.table
        if table is None:
            return [] if self.average == "none" else 0.0
        predicted, actual = table.sum(0), table.sum(1)
        above, below = self._ratio(np.diag(table), predicted, actual)
        if self.average == "micro":
            return ratio(int(above.sum()), int(below.sum()))
        values = above / np.maximum(below, 1)
        if self.average == "none":
            return values.tolist()
        if self.average == "weighted":
            return ratio(float((values * actual).sum()), int(actual.sum()))
        if self.average == "binary" or (self.average == "auto" and len(table) == 2):
            return float(values[self._class_one(len(table))])
        occurs = predicted + actual > 0
        return ratio(float(values[occurs].sum()), int(np.count_nonzero(occurs)))

    def _class_one(self, classes: int) -> int:
        if classes != 2:
            raise ConfigError(
                f"metrics: {type(self).__name__} with average: binary needs two classes, and the output has "
                f"{classes}; choose macro, micro, weighted or none."
            )
        return 1


class Precision(PerClass):
    """Of the predictions of a class, the share that is right; named `precision`, arguments as in `PerClass`."""

    _default_name = "precision"

    def _ratio(self, right: Any, predicted: Any, actual: Any) -> tuple[Any, Any]:
        return right, predicted


class Recall(PerClass):
    """Of the samples of a class, the share that was found; named `recall`, arguments as in `PerClass`."""

    _default_name = "recall"

    def _ratio(self, right: Any, predicted: Any, actual: Any) -> tuple[Any, Any]:
        return right, actual


class F1(PerClass):
    """The harmonic mean of a class's precision and recall; named `f1`, arguments as in `PerClass`."""

    _default_name = "f1"

    def _ratio(self, right: Any, predicted: Any, actual: Any) -> tuple[Any, Any]:
        return 2 * right, predicted + actual


class ConfusionMatrix(CountMetric):
    """How often each class was taken for each; a picture in VisualDL, named `confusion_matrix`.

    By default it is kept for validation and test data only. The arguments are those of `PerClass`.
    """

    counts: ConfusionCounts
    splits: Sequence[str] = ("valid", "test")

    def __init__(
        self,
        name: str = "confusion_matrix",
        threshold: float = 0.5,
        from_logits: bool = True,
        ignore_index: Optional[int] = None,
        class_names: Optional[Sequence[str]] = None,
    ) -> None:
        rule = PredictionRule(threshold, from_logits, ignore_index)
        super().__init__(name, ConfusionCounts(rule), **vars(rule))
        self.from_logits = from_logits
        self.class_names = class_names

    def name(self) -> Any:
        """No name, since it has no single number to log; the picture has one."""
        return []

    def accumulate(self) -> np.ndarray:
        """The counts, int64 [C, C]: `[label, predicted]`; [0, 0] if nothing came in."""
        table = self.counts.table
        return np.zeros((0, 0), np.int64) if table is None else table.copy()

    def pictures(self) -> dict[str, np.ndarray]:
        """The matrix drawn with each row as shares of its label, uint8 [H, W, 3], by name; empty without data."""
        from paddle_resume.metrics.confusion_picture import draw_confusion_matrix

        table = self.accumulate()
        if not table.any():
            return {}
        names = self.class_names if self.class_names and len(self.class_names) == len(table) else None
        return {self._name: draw_confusion_matrix(table, names)}


def ratio(part: float, whole: int) -> float:
    """`part / whole`; 0 of nothing."""
    return part / whole if whole else 0.0
