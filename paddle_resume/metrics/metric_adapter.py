"""Any `paddle.metric.Metric`, also a user's: how it is updated, its values by name, and its state."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from paddle_resume.errors import ConfigError, PaddleResumeError, StateError
from paddle_resume.metrics.input_checks import require_fitting

_NOT_STATE = ("splits", "class_names")


def update_arguments(metric: paddle.metric.Metric, output: Any, label: paddle.Tensor) -> list[Any]:
    """What `metric.update` is called with for a batch, tensors as arrays; raises ConfigError if it cannot take it."""
    require_fitting(metric, output, label)
    with _naming_the_metric(metric, output, label):
        result = metric.compute(output, label)
        parts = result if isinstance(result, (list, tuple)) else [result]
        return [p.numpy() if isinstance(p, paddle.Tensor) else p for p in parts]


def update_metric(metric: paddle.metric.Metric, parts: list[Any], output: Any = None, label: Any = None) -> None:
    """Take in a batch by what `update_arguments` gave; output and label are only for the error."""
    with _naming_the_metric(metric, output, label):
        metric.update(*parts)


@contextmanager
def _naming_the_metric(metric: paddle.metric.Metric, output: Any, label: Any) -> Iterator[None]:
    try:
        yield
    except PaddleResumeError:
        raise
    except Exception as error:
        shapes = [list(getattr(part, "shape", [])) for part in (output, label)]
        raise ConfigError(
            f"metrics: {type(metric).__module__}.{type(metric).__name__} cannot take an output {shapes[0]} with labels "
            f"{shapes[1]}: {type(error).__name__}: {' '.join(str(error).split())[:300]}. Choose another metric, or "
            "leave it out."
        ) from error


def metric_names(metric: paddle.metric.Metric) -> list[str]:
    """The names of its values, in their order."""
    name = metric.name()
    return [str(each) for each in name] if isinstance(name, (list, tuple)) else [str(name)]


def metric_values(metric: paddle.metric.Metric) -> dict[str, float]:
    """Its values by name; of a metric without a name, such as a confusion matrix, none."""
    values: Any = metric.accumulate()
    return dict(zip(metric_names(metric), map(float, values if isinstance(values, (list, tuple)) else [values])))


def metric_state(metric: paddle.metric.Metric) -> dict[str, Any]:
    """What `set_metric_state` puts back: what its own `state_dict()` gives, else its plain fields."""
    if hasattr(metric, "state_dict"):
        return metric.state_dict()
    return {name: value for name, value in _fields(metric).items() if _is_plain(value)}


def require_plain(metric: paddle.metric.Metric) -> None:
    """Raises StateError for a field that `metric_state` leaves out."""
    for name, value in ({} if hasattr(metric, "state_dict") else _fields(metric)).items():
        if not _is_plain(value):
            raise StateError(
                f"The metric {type(metric).__name__} holds {name!r} of type {type(value).__name__}, which cannot be "
                "saved. Keep numbers, lists and NumPy arrays in it, or give it state_dict() and set_state_dict()."
            )


def set_metric_state(metric: paddle.metric.Metric, state: dict[str, Any]) -> None:
    if hasattr(metric, "set_state_dict"):
        metric.set_state_dict(state)
    else:
        vars(metric).update(copy.deepcopy(state))


def _fields(metric: paddle.metric.Metric) -> dict[str, Any]:
    return {name: value for name, value in vars(metric).items() if name not in _NOT_STATE and not callable(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, str, np.ndarray, np.generic))
