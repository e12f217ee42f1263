"""Sees every call of every layer of a model through forward hooks, whatever goes in and comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import paddle


@dataclass(frozen=True)
class LayerCall:
    """One forward pass of one layer, at the moment it ends.

    `inputs` are the positional arguments; they and `outputs` may be tensors, nested lists, tuples and dicts of
    them, or anything else. `use` counts the passes of this layer from 0 on.
    """

    name: str
    layer: paddle.nn.Layer
    inputs: tuple[Any, ...]
    outputs: Any
    use: int


class LayerHooks:
    """Forward hooks that call `on_call` with each LayerCall until they are closed; what is computed stays the same.

    The model itself is the layer with the empty name. A layer that is known under two names has the first one.
    """

    def __init__(self, model: paddle.nn.Layer, on_call: Callable[[LayerCall], None]) -> None:
        self._on_call = on_call
        self._uses: dict[str, int] = {}
        layers = model.named_sublayers(include_self=True)
        self._handles = [layer.register_forward_post_hook(self._hook(name)) for name, layer in layers]

    def close(self) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> LayerHooks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hook(self, name: str) -> Any:
        def after(layer: paddle.nn.Layer, inputs: tuple[Any, ...], outputs: Any) -> None:
            use = self._uses.get(name, 0)
            self._uses[name] = use + 1
            self._on_call(LayerCall(name, layer, inputs, outputs, use))

        return after


def tensors_in(value: Any) -> Iterator[paddle.Tensor]:
    """Every tensor in nested lists, tuples and dicts."""
    if isinstance(value, paddle.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def shapes_in(value: Any) -> str:
    """The shapes of nested tensors as a text, such as `[2, 10]` or `([2, 5, 8], ([1, 2, 8], [1, 2, 8]))`."""
    if isinstance(value, paddle.Tensor):
        return str(list(value.shape))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shapes_in(part)}' for key, part in value.items())}}}"
    if isinstance(value, (list, tuple)):
        parts = [shapes_in(part) for part in value]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
    return type(value).__name__


def floating_in(value: Any) -> list[np.ndarray]:
    """Every floating-point tensor in `value` as an array of its own; types that NumPy lacks become float32."""
    return [as_array(tensor) for tensor in tensors_in(value) if paddle.is_floating_point(tensor)]


def as_array(tensor: paddle.Tensor) -> np.ndarray:
    """A copy of the values on the host, bfloat16 and float16 as float32."""
    tensor = tensor.detach()
    if tensor.dtype in (paddle.bfloat16, paddle.float16):
        tensor = tensor.astype("float32")
    return np.array(tensor.numpy())
