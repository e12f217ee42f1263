"""`inspect`: the layers of a config's model on a batch of its data, and on request their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.builders.data import MNIST_LIKE, build_split
from paddle_resume.builders.model import build_model_with
from paddle_resume.config import Config
from paddle_resume.data.feed import Feed
from paddle_resume.errors import ConfigError, DataError
from paddle_resume.inspection.model_summary import summarize
from paddle_resume.inspection.summary_tables import SummaryPrinter

_FOR_SHAPES = 2


def inspect_config(
    config: Config,
    *,
    values: bool = False,
    weights: Optional[str] = None,
    channel: Optional[str] = None,
    shapes: Sequence[str] = (),
) -> None:
    """Print the layers of the config's model, and with `values` where its weights and outputs lie.

    The batch is the first of the training data, two samples of it if only shapes are wanted. With `shapes`, texts
    such as `1,28,28`, it is drawn at random, one float32 input of each shape, and no data is needed. Raises
    ConfigError, DataError and CheckpointError.
    """
    if (weights or channel) and not values:
        raise ConfigError("--weights and --channel are about values; give --values too.")
    model = build_model_with(config, weights)
    samples = config.data.global_batch_size if values else _FOR_SHAPES
    inputs, source = _random_batch(config, shapes, samples) if shapes else _real_batch(config, samples)
    printer = SummaryPrinter()
    printer.say(f"{type(model).__name__}, weights from {weights or 'a fresh start'}, {source}")
    try:
        found = summarize(model, inputs, values)
    except Exception as error:
        given = ", ".join(f"{list(each.shape)} {str(each.dtype).split('.')[-1]}" for each in inputs)
        raise ConfigError(
            f"The model {config.model.name} failed on inputs {given}: {type(error).__name__}: {error}. Check model and "
            "data in the config, or give the shape of one sample of each input with --shape."
        ) from error
    printer.print_layers(found)
    if values:
        printer.print_values(found)
        printer.print_channel(found, channel, config.run.seed)


def _real_batch(config: Config, samples: int) -> tuple[list[Any], str]:
    try:
        data = build_split(config, "train")
    except DataError:
        if config.data.name not in MNIST_LIKE:
            raise
        inputs, source = _random_batch(config, ["1,28,28"], samples)
        return inputs, f"{source}, as the data is not there"
    batch = next(Feed(data, batch_size=samples, shuffle=False, seed=config.run.seed).from_start())
    return batch[:-1] or batch, f"the first {len(batch[0])} samples of {config.data.name}"


def _random_batch(config: Config, shapes: Sequence[str], samples: int) -> tuple[list[Any], str]:
    draw = np.random.RandomState(config.run.seed)
    inputs = [paddle.to_tensor(draw.rand(samples, *_extents(shape)).astype("float32")) for shape in shapes]
    return inputs, f"{samples} random samples"


def _extents(shape: str) -> list[int]:
    parts = shape.replace("x", ",").split(",")
    if not all(part.strip().isdigit() and int(part) for part in parts):
        raise ConfigError(f"--shape {shape}: expected the extents of one sample, such as 1,28,28.")
    return [int(part) for part in parts]
