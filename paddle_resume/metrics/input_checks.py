"""What Paddle's own metrics cannot take, and would count wrongly without a word."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.errors import ConfigError


def require_fitting(metric: paddle.metric.Metric, output: Any, label: Any) -> None:
    """Raises ConfigError if `metric` is one of Paddle's and would give a number that means nothing.

    They check next to nothing: Precision and Recall round a logit of 3.2 to a class 3, Auc takes any label but 0
    for 1 and gives the area under the ROC curve for `curve="PR"` too, Accuracy takes the labels [N, T] of a sequence
    for one-hot ones.
    """
    check = _CHECKS.get(type(metric))
    reason = check(metric, np.asarray(output), np.asarray(label)) if check else None
    if reason:
        name = type(metric).__name__
        raise ConfigError(
            f"metrics: paddle.metric.{name} {reason}; the output is {list(output.shape)}, the labels are "
            f"{list(label.shape)}. Use this package's own, `name: {name}` or paddle_resume.metrics.{name}, or leave "
            "the metric out."
        )


def _accuracy(metric: Any, output: np.ndarray, label: np.ndarray) -> Optional[str]:
    if output.ndim < 2 or output.shape[-1] < max(2, metric.maxk):
        return f"needs a score for each of {max(2, metric.maxk)} classes or more"
    if output.ndim > 2 and label.ndim < output.ndim:
        return "takes the labels of a sequence as [N, T, 1]"
    return None


def _precision_or_recall(metric: Any, output: np.ndarray, label: np.ndarray) -> Optional[str]:
    if output.size != len(output):
        return "is for two classes and takes one probability a sample"
    return _no_probabilities(output)


def _auc(metric: Any, output: np.ndarray, label: np.ndarray) -> Optional[str]:
    if metric._curve != "ROC":
        return f"gives the area under the ROC curve also with curve: {metric._curve}"
    if output.ndim != 2 or output.shape[1] != 2 or not _within_one(label):
        return "is for two classes and takes their probabilities, [N, 2], and labels 0 and 1"
    return _no_probabilities(output)


_CHECKS: dict[type, Any] = {
    paddle.metric.Accuracy: _accuracy,
    paddle.metric.Precision: _precision_or_recall,
    paddle.metric.Recall: _precision_or_recall,
    paddle.metric.Auc: _auc,
}


def _no_probabilities(output: np.ndarray) -> Optional[str]:
    if _within_one(output):
        return None
    return f"takes probabilities in 0..1, and the output reaches from {output.min():.6g} to {output.max():.6g}"


def _within_one(values: np.ndarray) -> bool:
    return not (values.size and (values.min() < 0 or values.max() > 1))
