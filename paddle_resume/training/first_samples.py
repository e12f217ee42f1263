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
from paddle_resume.training.data_advice import data_advice
from paddle_resume.training.failed_step import bad_sample, place_in_own_code, wrong_label

_SAMPLES = 2


def try_first_samples(
    feed: Feed,
    model: paddle.nn.Layer,
    forward: Callable[[Batch], tuple[Any, Any]],
    metrics: Sequence[paddle.metric.Metric],
    put_back: Callable[[], None],
    parts: str,
    split: str = "train",
) -> None:
    """Take the first samples of the first epoch through model, loss, gradients and metrics, and leave no trace.

    Generators, buffers, gradients and layers' modes are put back, and what else was found in the run by `put_back`.
    `parts` says what is tried. Those of another split than `train` are evaluated, which has no gradients. A
    stream is left alone: its first samples cannot be had twice. Raises ConfigError, or DataError where it is one of
    the samples.
    """
    if feed.is_stream:
        return
    indices = feed.first_indices(min(_SAMPLES, feed.batch_size))
    with preserved(), _as_it_was(model):
        try:
            entries = feed.samples_at(indices)
            batch = Batch.of(entries, len(indices), len(indices), np.asarray(indices, np.int64).tobytes())
            try:
                output = _through(forward, batch, model, split)
                for each in ("train", "valid", "test") if split == "train" else (split,):
                    trial = RunningMetrics(metrics, are_found=True).fresh(each)
                    trial.update(-1, paddle.to_tensor(0.0), output, batch.label, batch.local_size)
                    trial.results()
            except PaddleResumeError:
                raise
            except Exception as error:
                of_split = f"The first samples of the {split} data"
                where = "The first samples of the training data" if split == "train" else of_split
                named = bad_sample(error, [batch], forward, model, where)
                shapes = ", ".join(f"{list(t.shape)} {str(t.dtype).rpartition('.')[2]}" for _, t in tensors(batch))
                of_split = "" if split == "train" else f" of the {split} data"
                advice = data_advice(batch, forward) or wrong_label(batch, model)
                text = (
                    f"{parts} do not go together: a batch of {shapes or type(entries).__name__}{of_split} failed"
                    f"{place_in_own_code(error)} with {own_sentence(error)}."
                )
                if advice:
                    text += f" {advice}"
                raise named or ConfigError(text) from error
        finally:
            put_back()


def _through(forward: Callable[[Batch], tuple[Any, Any]], batch: Batch, model: Any, split: str) -> Any:
    """The output; in training backwards as well, else as in an evaluation."""
    if split != "train":
        model.eval()
        with paddle.no_grad():
            return forward(batch)[1]
    loss, output = forward(batch)
    if isinstance(loss, paddle.Tensor):
        _go_back(loss)
    return output


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
