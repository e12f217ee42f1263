"""Using a run's model without leaving a trace in its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle

from paddle_resume.rng import preserved


@contextmanager
def training_undisturbed(model: paddle.nn.Layer) -> Iterator[None]:
    """Evaluation mode and no gradients inside; at the end the mode and every generator as they were."""
    # One by one: a user may have put some of them into evaluation mode for good.
    training = [layer for layer in model.sublayers(include_self=True) if layer.training]
    model.eval()
    try:
        with preserved(), paddle.no_grad():
            yield
    finally:
        for layer in training:
            layer.training = True
