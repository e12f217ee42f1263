"""The layers and parameters of a model by name, as Paddle tells them, in a fraction of the time that it takes."""

from __future__ import annotations

from functools import cache
from typing import Any

import paddle

_LAYER: Any = paddle.nn.Layer


def named_layers(model: Any) -> list[tuple[str, Any]]:
    """What `model.named_sublayers(include_self=True)` gives: each layer once, by the first of its names."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", model)]
    while waiting:
        name, layer = waiting.pop()
        cls: Any = type(layer)
        if not _is_paddles(cls):
            return [*model.named_sublayers(include_self=True)]
        if id(layer) not in seen:
            seen.add(id(layer))
            found.append((name, layer))
            inner = layer._sub_layers
            if inner:
                prefix = f"{name}." if name else ""
                waiting += [(f"{prefix}{key}", each) for key, each in reversed(inner.items()) if each is not None]
    return found


def named_parameters(model: Any) -> dict[str, paddle.Tensor]:
    """What `model.named_parameters()` gives: each parameter once, by the first of its names."""
    cls: Any = type(model)
    if not _is_paddles(cls):
        return dict(model.named_parameters())
    found: dict[str, paddle.Tensor] = {}
    seen: set[int] = set()
    for name, layer in named_layers(model):
        for key, parameter in layer._parameters.items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{name}.{key}" if name else key] = parameter
    return found


@cache
def _is_paddles(cls: Any) -> bool:
    """Whether layers of this class tell what they consist of as all of Paddle's do."""
    ways = ("named_parameters", "named_sublayers")
    return all(getattr(cls, way) is getattr(_LAYER, way) for way in ways)
