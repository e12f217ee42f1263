"""Where the values of a tensor lie, and what in them is a sign of trouble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle

# A weight or an output beyond this is hardly ever meant: float16 ends at 65,504.
VERY_LARGE = 1e4
# How near to its limits a sigmoid, a tanh or a softmax counts as saturated, and for which share of its outputs.
_NEAR = 0.01
_MOSTLY = 0.8
# From which share of silent channels on a layer is partly dead; fewer are usual after a ReLU.
_HALF = 0.5


@dataclass(frozen=True)
class Statistics:
    """Mean, standard deviation, extremes and the share of zeros of the finite values among `count`."""

    count: int
    mean: float
    std: float
    minimum: float
    maximum: float
    zeros: float
    non_finite: int

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Statistics:
        """The statistics of all values together; NaN in each field if none is finite."""
        # In float64, and by plain sums: their order, and so their bits, do not depend on where an array lies.
        values = np.concatenate([array.reshape(-1).astype(np.float64) for array in arrays] or [np.zeros(0)])
        finite = values[np.isfinite(values)]
        if not finite.size:
            nothing = float("nan")
            return cls(values.size, nothing, nothing, nothing, nothing, nothing, values.size)
        with np.errstate(over="ignore"):
            mean = float(finite.sum() / finite.size)
            std = float(np.sqrt(np.square(finite - mean).sum() / finite.size))
        zeros = 1 - np.count_nonzero(finite) / finite.size
        low, high = float(finite.min()), float(finite.max())
        return cls(values.size, mean, std, low, high, zeros, values.size - finite.size)

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(self.minimum), abs(self.maximum))


def weight_findings(statistics: Statistics, dimensions: int) -> list[str]:
    """What looks wrong in a parameter with that many dimensions.

    Vectors, such as biases, may well be all zero: that is how they start.
    """
    return _findings(statistics, "weights", may_be_zero=dimensions < 2)


def output_findings(layer: paddle.nn.Layer, outputs: Sequence[np.ndarray], statistics: Statistics) -> list[str]:
    """What looks wrong in the outputs of one call of `layer`, each of shape [B, ...]."""
    found = _findings(statistics, "outputs")
    for output in outputs:
        silent, channels = _silent_channels(layer, output)
        if _HALF * channels <= silent < channels:
            found.append(f"partly dead: {silent} of {channels} channels are 0 throughout the batch")
        share = _saturated_share(layer, output)
        if share > _MOSTLY:
            found.append(f"saturated: {share:.0%} lie within {_NEAR} of a limit of {type(layer).__name__}")
    return found


def channel_axis(layer: paddle.nn.Layer, dimensions: int) -> int:
    """The axis of the channels in an output [B, ...] of so many dimensions: 1 for images, else the last."""
    layout = getattr(layer, "_data_format", None) or getattr(layer, "data_format", None)
    if isinstance(layout, str) and len(layout) == dimensions and "C" in layout:
        return layout.index("C")
    return 1 if dimensions >= 4 else dimensions - 1


def _findings(statistics: Statistics, noun: str, may_be_zero: bool = False) -> list[str]:
    found = []
    if statistics.non_finite:
        found.append(f"NaN or infinite: {statistics.non_finite:,} of {statistics.count:,} {noun}")
    if statistics.zeros == 1 and not may_be_zero:
        found.append(f"dead: all {noun} are 0")
    if statistics.count and statistics.largest > VERY_LARGE:
        found.append(f"exploding: {noun} up to {statistics.largest:.3g}")
    return found


def _silent_channels(layer: paddle.nn.Layer, output: np.ndarray) -> tuple[int, int]:
    """How many channels of an output [B, ...] are 0 for every sample, and how many there are."""
    if output.ndim < 2 or not output.size:
        return 0, 0
    axis = channel_axis(layer, output.ndim)
    others = tuple(i for i in range(output.ndim) if i != axis)
    return int(np.count_nonzero(~np.any(output != 0, axis=others))), output.shape[axis]


def _saturated_share(layer: paddle.nn.Layer, output: np.ndarray) -> float:
    if not output.size:
        return 0.0
    if isinstance(layer, paddle.nn.Softmax):
        # Most probabilities are near 0 anyway: a distribution is saturated when all of it lies on one class.
        return float(np.mean(output.max(axis=getattr(layer, "_axis", -1)) > 1 - _NEAR))
    if isinstance(layer, (paddle.nn.Sigmoid, paddle.nn.Hardsigmoid)):
        return float(np.mean((output < _NEAR) | (output > 1 - _NEAR)))
    if isinstance(layer, paddle.nn.Tanh):
        return float(np.mean(np.abs(output) > 1 - _NEAR))
    return 0.0
