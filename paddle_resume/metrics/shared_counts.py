"""Counts that several metrics have in common: which metrics are made of them, and how they come to share them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import paddle
from typing_extensions import TypeGuard

from paddle_resume.metrics.classification import CountMetric
from paddle_resume.metrics.counts import Counts


def share_counts(metrics: Sequence[paddle.metric.Metric]) -> None:
    """Let metrics that count the same have one object that counts."""
    shared: dict[Any, Counts] = {}
    for metric in filter(is_counted, metrics):
        metric.counts = shared.setdefault(metric.counts.key, metric.counts)


def is_counted(metric: paddle.metric.Metric) -> TypeGuard[CountMetric]:
    """Whether a batch reaches `metric` by its counts alone; a subclass may do more in its own `update`."""
    kind = type(metric)
    return issubclass(kind, CountMetric) and (kind.update, kind.compute) == (CountMetric.update, CountMetric.compute)


def emptied(counts: Counts) -> Counts:
    """Counts of the same kind, with nothing in them."""
    own = copy.deepcopy(counts)
    own.reset()
    return own
