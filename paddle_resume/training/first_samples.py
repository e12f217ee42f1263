"""Tries the first samples before a run begins: data, model, loss and metrics have to go together, backwards too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Callable

import numpy as np
import paddle

from paddle_resume.data.batch import Batch
from paddle_resume.data.batch_tree import tensors
from paddle_resume.data.feed import Feed
from paddle_resume.errors import ConfigError, PaddleResumeError, own_sentence
from paddle_resume.metrics import RunningMetrics
from paddle_resume.owners.tensor_views import fill, view
from paddle_resume.parallel.batch_norm import per_process_statistics
from paddle_resume.rng import preserved
from paddle_resume.training.failed_step import bad_sample

_SAMPLES = 2


def try_first_samples(
    feed: Feed,
    model: paddle.nn.Layer,
    forward: Callable[[Batch], tuple[Any, Any]],
    metrics: Sequence[paddle.metric.Metric],
    put_back: Callable[[], None],
    parts: str,
) -> None:
    """Take the first samples of the first epoch through model, loss, gradients and metrics, and leave no trace.

    Generators, buffers, gradients and layers' modes are put back, and what else was found in the run by `put_back`.
    `parts` says what is tried. A stream is left alone: its first samples cannot be had twice. Raises ConfigError, or
    DataError where it is one of the samples.
    """
    if feed.is_stream:
        return
    indices = feed.first_indices(min(_SAMPLES, feed.batch_size))
    with preserved(), _as_it_was(model):
        try:
            entries = feed.samples_at(indices)
            batch = Batch.of(entries, len(indices), len(indices), np.asarray(indices, np.int64).tobytes())
            try:
                loss, output = forward(batch)
                if isinstance(loss, paddle.Tensor):
                    _go_back(loss)
                for split in ("train", "valid", "test"):
                    trial = RunningMetrics(metrics, are_found=True).fresh(split)
                    trial.update(-1, paddle.to_tensor(0.0), output, batch.label, batch.local_size)
                    trial.results()
            except PaddleResumeError:
                raise
            except Exception as error:
                named = bad_sample(error, [batch], forward, model, "The first samples of the training data")
                shapes = ", ".join(f"{list(t.shape)} {str(t.dtype).rpartition('.')[2]}" for _, t in tensors(batch))
                raise named or ConfigError(
                    f"{parts} do not go together: a batch of {shapes or type(entries).__name__} failed with "
                    f"{own_sentence(error)}."
                ) from error
        finally:
            put_back()


def _go_back(loss: paddle.Tensor) -> None:
    if loss.stop_gradient:
        raise ConfigError(
            "The loss has no gradient, so that nothing would be trained: no parameter of the model is used for it, all "
            "of them are frozen, or it was made of numbers that were read from tensors (.numpy(), .item(), no_grad)."
        )
    loss.backward()


@contextmanager
def _as_it_was(model: paddle.nn.Layer) -> Iterator[None]:
    """In training mode inside; afterwards modes, buffers and gradients are as they were."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    moved = {id(each): each for each in [*model.buffers(), *per_process_statistics(model)]}
    # Some are names without memory, such as that under which recurrent layers would pack their weights.
    buffers = [(buffer, view(buffer).copy()) for buffer in moved.values() if buffer._is_initialized()]
    parameters = [p for p in model.parameters() if not p.stop_gradient]
    gradients = [(p, p.grad.clone()) for p in parameters if p.grad is not None]
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
        for buffer, before in buffers:
            fill(buffer, before)
        for parameter in parameters:
            parameter.clear_gradient(False)
        for parameter, gradient in gradients:
            parameter.grad = gradient
