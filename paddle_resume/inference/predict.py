"""Classify images with an export, or with a checkpoint and its config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np

from paddle_resume.builders.data import build_data
from paddle_resume.builders.model import model_with_weights
from paddle_resume.config import Config
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.errors import DataError, ExportError
from paddle_resume.inference.description import ImageFormat, Interface, Scores, find_export
from paddle_resume.inference.image_sources import Failure, ImageSource
from paddle_resume.inference.images import looks_inverted
from paddle_resume.inference.interface import describe, first_outputs, model_outputs, sample_inputs
from paddle_resume.inference.runners import Runner, run_export


@dataclass(frozen=True)
class Prediction:
    """One image's scores by class, float64 [K], and whether black and white look exchanged in it."""

    name: str
    scores: np.ndarray
    looks_inverted: bool

    @property
    def order(self) -> np.ndarray:
        """The classes from the best to the worst; of equals the first comes first."""
        return np.argsort(-self.scores, kind="stable")


class Classifier:
    """A model that takes one image and gives one score for each class.

    Raises ExportError if the model that `interface` tells of is another kind, naming `source`.
    """

    def __init__(self, interface: Interface, run: Runner, source: str) -> None:
        self._run = run
        self._interface = interface
        self.image = _check(interface, source)
        count = interface.outputs[0].shape[1] or 0
        self.classes: list[str] = interface.classes or [str(i) for i in range(count)]

    @classmethod
    def from_export(cls, text: str) -> Classifier:
        """The classifier in the export that `text` names; raises ExportError."""
        folder, description = find_export(text)
        return cls(description.interface, run_export(folder, description), f"The export {text}")

    @classmethod
    def from_checkpoint(cls, config: Config, weights: str) -> Classifier:
        """The config's model with these weights; raises CheckpointError, ConfigError, DataError, ExportError."""
        model, _, _ = model_with_weights(config, weights)
        data = build_data(config)
        inputs = sample_inputs(config, data)
        interface = describe(config, model, data, inputs, first_outputs(config, model, inputs))
        return cls(interface, lambda arrays: model_outputs(model, arrays), f"The model of run {config.run.name}")

    @property
    def unit(self) -> str:
        """What `scores` gives: "probability", or "score" where the loss does not tell how to make one."""
        return "score" if self._interface.scores == "scores" else "probability"

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Float64 [N, K] for uint8 pixels [N, H, W, C]: the probabilities of the classes, or plain scores."""
        # The very code that training reads its images with: the same bits in each version of Paddle.
        images, _ = ImageArrays(pixels, np.zeros(len(pixels), np.int64), num_classes=1).gather(np.arange(len(pixels)))
        return _probabilities(self._run([images])[0].astype(np.float64), self._interface.scores)

    def predict(
        self,
        images: Sequence[ImageSource],
        *,
        invert: bool = False,
        batch_size: int = 64,
        advance: Callable[[int], None] = lambda count: None,
    ) -> Iterator[Prediction | Failure]:
        """Each image's prediction, in order, or why there is none; `advance` is told how many are done."""
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            loaded = [_load(source, self.image, invert) for source in part]
            pixels = [item for item in loaded if isinstance(item, np.ndarray)]
            rows = iter(self.scores(np.stack(pixels))) if pixels else iter(())
            for source, item in zip(part, loaded):
                if isinstance(item, Failure):
                    yield item
                else:
                    yield Prediction(source.name, next(rows), looks_inverted(item, self.image))
            advance(len(part))


def accuracy(predictions: Iterable[Prediction], labels: np.ndarray) -> float:
    """The share of predictions whose best class is the label."""
    return float(np.mean([prediction.order[0] == label for prediction, label in zip(predictions, labels)]))


def _load(source: ImageSource, wanted: ImageFormat, invert: bool) -> np.ndarray | Failure:
    try:
        return source.load(wanted, invert)
    except DataError as error:
        return Failure(source.name, str(error))


def _check(interface: Interface, source: str) -> ImageFormat:
    shapes = ", ".join(map(str, interface.outputs))
    if len(interface.outputs) != 1 or len(interface.outputs[0].shape) != 2 or (interface.outputs[0].shape[1] or 0) < 2:
        raise ExportError(f"{source} gives {shapes}; predict expects one score for each of several classes.")
    image = interface.image
    if image is None:
        raise ExportError(
            f"{source} does not say how an image becomes its input ({', '.join(map(str, interface.inputs))}): that is "
            "known for mnist, fashion_mnist and other ImageArrays without a transform. Call the model from Python, as "
            "docs/export.md shows."
        )
    return image


def _probabilities(values: np.ndarray, kind: Scores) -> np.ndarray:
    """What a model gave, float64 [N, K], as probabilities where the kind says how."""
    if kind == "logits":
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    return np.exp(values) if kind == "log_probabilities" else values


def hint(predictions: Sequence[Prediction], image: ImageFormat) -> Optional[str]:
    """One line about images that look inverted; None if there are none."""
    names = [prediction.name for prediction in predictions if prediction.looks_inverted]
    if not names:
        return None
    usual, theirs = ("dark", "bright") if image.background < 128 else ("bright", "dark")
    return (
        f"{len(names)} of {len(predictions)} images have a {theirs} background, while the model knows a {usual} one: "
        f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}. If the predictions are wrong, add --invert."
    )
