"""Metrics over whole numbers: exact, independent of how the data is cut into batches, and continued on a resume."""

from paddle_resume.metrics.auc import Auc
from paddle_resume.metrics.classification import F1, Accuracy, ConfusionMatrix, CountMetric, Precision, Recall, TopK
from paddle_resume.metrics.running import RunningMetrics, evaluation_tags

__all__ = [
    "F1",
    "Accuracy",
    "Auc",
    "ConfusionMatrix",
    "CountMetric",
    "Precision",
    "Recall",
    "RunningMetrics",
    "TopK",
    "evaluation_tags",
]
