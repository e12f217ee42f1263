"""Metrics that go on after a resume; those of classes count whole numbers, so the cut into batches moves no bit."""

from paddle_resume.metrics.auc import Auc
from paddle_resume.metrics.classification import F1, Accuracy, ConfusionMatrix, CountMetric, Precision, Recall, TopK
from paddle_resume.metrics.perplexity import Perplexity
from paddle_resume.metrics.running import RunningMetrics
from paddle_resume.metrics.tags import evaluation_tags

__all__ = [
    "F1",
    "Accuracy",
    "Auc",
    "ConfusionMatrix",
    "CountMetric",
    "Perplexity",
    "Precision",
    "Recall",
    "RunningMetrics",
    "TopK",
    "evaluation_tags",
]
