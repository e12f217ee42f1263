"""What the layers of a Paddle model take from which of torch's names: the built-in rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from paddle import nn

_WEIGHTS = {"scale": (nn.InstanceNorm1D, nn.InstanceNorm2D, nn.InstanceNorm3D), "_weight": (nn.PReLU,)}
"""The layers that have, under a name of Paddle's own, what torch calls `weight`."""
_DROPPED = ("num_batches_tracked", "n_averaged")
"""Counters of torch's BatchNorm and AveragedModel, for which Paddle has no place."""


@dataclass(frozen=True)
class WeightMapping:
    """A parameter or buffer of the model, and how it is made of what a file holds under one of torch's names."""

    target: str
    transpose: bool = False
    part: Optional[tuple[int, int]] = None
    """(i, n): the i-th of n equal parts along the first axis."""

    def apply(self, array: np.ndarray, transpose: Optional[bool] = None) -> tuple[np.ndarray, list[str]]:
        """The values for the target, as a view, and what was done; `transpose` overrides what the rule says."""
        done = []
        if self.part is not None and array.ndim and array.shape[0] % self.part[1] == 0:
            index, size = self.part[0], array.shape[0] // self.part[1]
            array = array[index * size : (index + 1) * size]
            done.append(f"part {index + 1} of {self.part[1]}")
        if (self.transpose if transpose is None else transpose) and array.ndim == 2:
            return array.T, [*done, "transposed"]
        return array, [*done, "not transposed"] if self.transpose else done


def is_counter(name: str) -> bool:
    """Whether torch counts something under this name that no Paddle model has."""
    return name.rpartition(".")[2] in _DROPPED


def torch_mappings(model: nn.Layer) -> dict[str, list[WeightMapping]]:
    """By torch's name, which of the model's parameters and buffers are made of it.

    A matrix is transposed because its layer is a `paddle.nn.Linear`, whose weight is [in, out] and in torch [out, in];
    its shape does not matter. Embeddings, convolutions and recurrent layers have the same layout in both.
    """
    live = model.state_dict()
    direct = {
        name: WeightMapping(name, _is_linear(model, name) and len(tensor.shape) == 2) for name, tensor in live.items()
    }
    mappings = {name: [mapping] for name, mapping in direct.items()}
    for name in live:
        alias = _alias(model, name)
        if alias is not None:
            mappings.setdefault(alias, [direct[name]])
    for path, layer in model.named_sublayers(include_self=True):
        start = f"{path}." if path else ""
        if isinstance(layer, nn.MultiHeadAttention):
            _add_attention(mappings, direct, start)
    for path, layer in model.named_sublayers(include_self=True):
        start = f"{path}." if path else ""
        if isinstance(layer, nn.TransformerDecoderLayer):
            ours, theirs = f"{start}cross_attn.", f"{start}multihead_attn."
            for name in [name for name in mappings if name.startswith(ours)]:
                mappings.setdefault(theirs + name[len(ours) :], mappings[name])
    return mappings


def identity_mappings(model: nn.Layer) -> dict[str, list[WeightMapping]]:
    """The mappings for a file that has Paddle's own names and layout."""
    return {name: [WeightMapping(name)] for name in model.state_dict()}


def shared_names(model: nn.Layer) -> dict[str, list[str]]:
    """The structured names of each tensor that the model has under several, by each of them."""
    by_tensor: dict[str, list[str]] = {}
    for name, tensor in model.state_dict().items():
        by_tensor.setdefault(tensor.name, []).append(name)
    return {name: names for names in by_tensor.values() if len(names) > 1 for name in names}


def _layer_of(model: nn.Layer, name: str) -> Any:
    """The layer that owns the parameter or buffer of this structured name."""
    layer: Any = model
    for part in name.split(".")[:-1]:
        layer = getattr(layer, part, None)
    return layer


def _is_linear(model: nn.Layer, name: str) -> bool:
    return isinstance(_layer_of(model, name), nn.Linear)


def _alias(model: nn.Layer, name: str) -> Optional[str]:
    """Torch's name of a parameter or buffer that Paddle calls otherwise."""
    start, dot, own = name.rpartition(".")
    layer = _layer_of(model, name)
    theirs = None
    if own in ("_mean", "_variance") and hasattr(layer, "_mean") and hasattr(layer, "_variance"):
        theirs = {"_mean": "running_mean", "_variance": "running_var"}[own]
    elif isinstance(layer, _WEIGHTS.get(own, ())):
        theirs = "weight"
    return None if theirs is None else start + dot + theirs


def _add_attention(mappings: dict[str, list[WeightMapping]], direct: dict[str, WeightMapping], start: str) -> None:
    """Torch keeps the three input projections of an attention in one matrix, or under names of its own."""
    for kind in ("weight", "bias"):
        parts = [f"{start}{which}_proj.{kind}" for which in "qkv"]
        fused = [WeightMapping(name, direct[name].transpose, (i, 3)) for i, name in enumerate(parts) if name in direct]
        if fused:
            mappings.setdefault(f"{start}in_proj_{kind}", fused)
    for which in "qkv":
        name = f"{start}{which}_proj.weight"
        if name in direct:
            mappings.setdefault(f"{start}{which}_proj_weight", [direct[name]])
