"""Averages gradients over the processes that share each batch, and knows whether the step under way has done so."""

from __future__ import annotations

from collections.abc import Iterable

import paddle

from paddle_resume.parallel.world import World


class GradientAverage:
    """Of the processes of `world`; in a single one it does nothing."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_done = world.is_single
        """Whether the gradients of the step under way are those of all processes."""

    def begin_step(self) -> None:
        """A step begins, whose gradients are to be averaged."""
        self.is_done = self.world.is_single

    def average(self, parameters: Iterable[paddle.Tensor], weight: float = 1.0) -> None:
        """Replace every gradient by the mean of all processes', in which this one's counts `weight` times."""
        self.world.average_gradients(parameters, weight)
        self.is_done = True
