"""The names under which metrics are logged, one for each value, and which of them a part of the data has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import paddle

from paddle_resume.errors import ConfigError
from paddle_resume.metrics.metric_adapter import metric_names
from paddle_resume.user_terms import speaks_command


def evaluation_tags(metrics: Sequence[paddle.metric.Metric], split: str = "valid") -> list[str]:
    """The tags, such as `valid/acc`, of what an evaluation with these metrics gives.

    Single classes, `valid/f1/<class>`, are among them if their names are known before the data comes in.
    """
    names = [name for metric in kept_for(split, metrics) for name in metric_names(metric)]
    return [f"{split}/{name}" for name in ["loss", *names]]


def kept_for(split: str, metrics: Sequence[paddle.metric.Metric]) -> list[paddle.metric.Metric]:
    """Those of `metrics` that are kept for this part of the data: all but those whose `splits` leave it out."""
    return [metric for metric in metrics if split in getattr(metric, "splits", (split,))]


def require_unique_names(metrics: Sequence[paddle.metric.Metric]) -> None:
    """Raises ConfigError if two values, the loss among them, have one name."""
    names = [name for metric in metrics for name in metric_names(metric)]
    doubled = [name for name, count in Counter(["loss", *names]).items() if count > 1]
    if doubled:
        cure = "`tag: another`" if speaks_command() else "name='another'"
        raise ConfigError(
            f"metrics: two values are called {doubled[0]}, and one would overwrite the other in the logs. Give one of "
            f"the metrics another name: {cure}."
        )
