"""What classification metrics read of one batch: labels, scores and predicted classes, each worked out once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.errors import ConfigError, DataError


@dataclass(frozen=True)
class PredictionRule:
    """How outputs and labels are meant; metrics that read alike can share their counts.

    Args:
        threshold: of an output with one score a sample, the probability above which the class is 1.
        from_logits: whether outputs are logits (as CrossEntropyLoss and BCEWithLogitsLoss take them) or
            probabilities.
        ignore_index: the label of samples that do not count, such as the padding of a sequence; None: all count.

    Raises ConfigError for a threshold that is no probability.
    """

    threshold: float = 0.5
    from_logits: bool = True
    ignore_index: Optional[int] = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError(
                f"metrics: threshold is {self.threshold}; expected a probability between 0 and 1, also for logits: "
                "it is turned into a logit then."
            )

    @property
    def score_threshold(self) -> float:
        """The threshold on the scale of the scores: comparing there needs no sigmoid, so it is exact."""
        return math.log(self.threshold / (1 - self.threshold)) if self.from_logits else self.threshold


class Predictions:
    """One batch as M single predictions.

    Args:
        output: [N, C] or [N, T..., C], a score for each of C classes; or [N] or [N, ..., 1], one score for
            class 1 against class 0. A tensor or an array.
        label: the class indices, [N] or [N, 1], or [N, T...] or [N, T..., 1].
        fetch: whether to copy the scores from their device at once; else they stay there until they are asked for,
            and the device finds the highest.

    Raises ConfigError if these do not fit together, DataError for labels that are no whole numbers.
    """

    __slots__ = ("_best", "_output", "_scores", "classes", "is_sequence", "labels", "single")

    def __init__(self, output: Any, label: Any, fetch: bool = True) -> None:
        # This runs at every step, where microseconds count: NumPy takes a tenth of the time of Paddle's operators on
        # so little.
        self._output = output
        self._scores: Optional[np.ndarray] = None
        self._best: Optional[np.ndarray] = None
        try:
            if fetch:
                self._scores = _to_numpy(output)
                shape = self._scores.shape
            else:
                shape = tuple(output.shape)
            labels = label if isinstance(label, np.ndarray) else label.numpy()
        except AttributeError:
            raise ConfigError(_not_tensors(output, label)) from None
        classes = shape[-1] if len(shape) > 1 else 1
        self.single = classes == 1
        """Whether there is one score for class 1 instead of one for each class."""
        self.classes = classes if classes > 1 else 2
        """The number of classes, C."""
        self.is_sequence = len(shape) > 2
        fits = labels.size * classes == math.prod(shape)
        if not fits or (self.is_sequence and labels.shape[: len(shape) - 1] != shape[:-1]):
            raise ConfigError(_shape_mismatch(shape, labels))
        self.labels: np.ndarray = (labels if labels.dtype.kind in "iu" else _as_integers(labels, shape)).reshape(-1)
        """The labels, integers [M]."""

    @property
    def scores(self) -> np.ndarray:
        """The outputs, float [M, C], or [M, 1] if `single`."""
        if self._scores is None:
            self._scores = _to_numpy(self._output)
        return self._scores.reshape(-1, 1 if self.single else self.classes)

    def predicted(self, rule: PredictionRule) -> np.ndarray:
        """The predicted classes, integers [M]: the first one with the highest score."""
        if self.single:
            return self._above(rule)
        if self._best is None:
            if self._scores is None:  # the indices are fewer bytes than the scores
                self._best = paddle.argmax(self._output, -1).numpy().reshape(-1)
            else:
                self._best = self._scores.argmax(-1).reshape(-1)
        return self._best

    def mask(self, rule: PredictionRule) -> Optional[np.ndarray]:
        """Which predictions count, bool [M]; None if all do."""
        return None if rule.ignore_index is None else self.labels != rule.ignore_index

    def _above(self, rule: PredictionRule) -> np.ndarray:
        scores = self.scores[:, 0]
        if not rule.from_logits:
            require_probabilities(scores)
        return (scores > rule.score_threshold).astype(np.int64)


def require_probabilities(scores: np.ndarray) -> None:
    """Raises ConfigError unless `scores` are within 0..1; NaN passes, since the trainer tells of it."""
    if len(scores) and (scores.min() < 0 or scores.max() > 1):
        raise ConfigError(
            f"metrics: the outputs reach from {scores.min():.6g} to {scores.max():.6g}, and from_logits: false says "
            "that they are probabilities; set from_logits: true, or end the model with a sigmoid or softmax."
        )


def require_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """`labels` [M] as int64; raises DataError if one is not in 0..classes-1."""
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        bad = labels[(labels < 0) | (labels >= classes)][0]
        raise DataError(
            f"metrics: the label {bad} is none of the output's {classes} classes, 0..{classes - 1}. Check the labels, "
            "or the size of the model's last layer; if this label marks samples that do not count, set the metric's "
            f"ignore_index: {bad}."
        )
    return labels.astype(np.int64, copy=False)


def _to_numpy(output: Any) -> np.ndarray:
    array = output if isinstance(output, np.ndarray) else output.numpy()
    if array.dtype.kind == "u" and output.dtype == paddle.bfloat16:  # for which NumPy has no type
        return output.astype("float32").numpy()
    return array


def _as_integers(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels of another type as integers: BCEWithLogitsLoss wants 0.0 and 1.0."""
    as_integers = labels.astype(np.int64)
    if not np.array_equal(as_integers, labels):
        found = labels[as_integers != labels].reshape(-1)[0]
        raise DataError(
            f"metrics: a label is {found}, and these metrics need class indices such as 0, 1, 2 (the output is "
            f"{list(shape)}). For a regression write `metrics: []`, or a metric of your own as my_package.module:Class."
        )
    return as_integers


def _shape_mismatch(shape: tuple[int, ...], labels: np.ndarray) -> str:
    fitting = " or ".join(str(list(each)) for each in ((*shape[:-1],), (*shape[:-1], 1)) if each)
    text = f"metrics: labels {list(labels.shape)} do not fit an output {list(shape)}; expected class indices {fitting}."
    if labels.shape == shape:
        return f"{text} One-hot and soft labels are not read: give indices, or write `metrics: []`."
    if len(shape) > 2 and labels.shape == (shape[0], *shape[2:]):
        return f"{text} The classes have to be the last axis: transpose the output."
    return f"{text} For something other than classification write `metrics: []`."


def _not_tensors(output: Any, label: Any) -> str:
    name, found = ("output", output) if not isinstance(output, (paddle.Tensor, np.ndarray)) else ("label", label)
    return (
        f"metrics: the {name} is a {type(found).__name__}, and these metrics need one tensor. Return from train_step "
        "and evaluate_step the (loss, output) that they should see, or write `metrics: []`."
    )
