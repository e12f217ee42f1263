"""What Paddle's own Precision, Recall and Auc cannot take, and would count wrongly without a word."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.errors import ConfigError


def require_fitting(metric: paddle.metric.Metric, output: Any, label: Any) -> None:
    """Raises ConfigError if `metric` is one of Paddle's that is for two classes and probabilities, and these are not.

    They check nothing: Precision and Recall round a logit of 3.2 to a class 3 that counts as 0, and Auc takes any
    label but 0 for 1.
    """
    reason = _why_not(metric, output, label)
    if reason:
        name = type(metric).__name__
        raise ConfigError(
            f"metrics: paddle.metric.{name} {reason}; the output is {list(output.shape)}. Write `name: {name}` for "
            "this package's own, which takes logits or probabilities and any number of classes."
        )


def _why_not(metric: paddle.metric.Metric, output: Any, label: Any) -> Optional[str]:
    if isinstance(metric, (paddle.metric.Precision, paddle.metric.Recall)):
        scores = np.asarray(output)
        if scores.size != len(scores):
            return "is for two classes and takes one probability a sample, [N] or [N, 1]"
        if not _within(scores, 0, 1):
            return f"takes probabilities in 0..1, and the output reaches from {scores.min():.6g} to {scores.max():.6g}"
    elif isinstance(metric, paddle.metric.Auc):
        scores, labels = np.asarray(output), np.asarray(label)
        if scores.ndim != 2 or scores.shape[1] != 2 or not _within(labels, 0, 1):
            return "is for two classes and takes their probabilities, [N, 2], and labels 0 or 1"
        if not _within(scores, 0, 1):
            return f"takes probabilities in 0..1, and the output reaches from {scores.min():.6g} to {scores.max():.6g}"
    return None


def _within(values: np.ndarray, low: float, high: float) -> bool:
    return not values.size or bool(values.min() >= low and values.max() <= high)
