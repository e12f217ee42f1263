"""Finds the images that a model classifies wrongly, and draws the most confident of its errors as a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import paddle
from rich.progress import track

from paddle_resume.builders.data import MNIST_LIKE, build_split
from paddle_resume.builders.model import build_model_with
from paddle_resume.config import Config
from paddle_resume.data.feed import Feed
from paddle_resume.data.mnist import label_names
from paddle_resume.errors import ConfigError
from paddle_resume.inspection.layer_hooks import as_array, tensors_in
from paddle_resume.pictures.figure import new_figure, style
from paddle_resume.training.undisturbed import training_undisturbed
from paddle_resume.translations.console import Console

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class MisclassifiedImage:
    """One image [C, H, W] that was taken for another class, and the probability that the model gave to it."""

    index: int
    image: np.ndarray
    label: int
    prediction: int
    probability: float


@dataclass(frozen=True)
class Misclassified:
    """The most confident of them, the surest first; how many there are in all, and among how many images."""

    shown: list[MisclassifiedImage]
    wrong: int
    total: int


def find_misclassified(config: Config, weights: str, split: str = "test", count: int = 36) -> Misclassified:
    """Classify one split of the config's data with a checkpoint's weights.

    The model's first output is taken for class scores [B, classes], or for probabilities if that is what they are;
    the first input for the images. Raises CheckpointError, DataError, and ConfigError if it is not such a task.
    """
    if count < 1:
        raise ConfigError(f"--count {count}: expected 1 or more.")
    model = build_model_with(config, weights)
    feed = Feed(
        build_split(config, split),
        batch_size=config.data.global_batch_size,
        shuffle=False,
        num_workers=config.data.num_workers,
        seed=config.run.seed,
    )
    shown: list[MisclassifiedImage] = []
    wrong = total = 0
    console = Console(stderr=True)
    batches = track(
        feed.from_start(),
        description="Classifying",
        total=feed.batches_per_epoch,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with training_undisturbed(model):
        for batch in batches:
            found = _misclassified_in(model, batch, total)
            shown = sorted([*shown, *found], key=lambda image: (-image.probability, image.index))[:count]
            wrong, total = wrong + len(found), total + len(batch[0])
    return Misclassified(shown, wrong, total)


def draw_misclassified(found: Misclassified, names: Optional[Sequence[str]] = None, title: str = "") -> Figure:
    """A grid of the shown images, each with label, prediction and its probability; `names` are those of the classes."""
    columns = min(9, math.ceil(math.sqrt(len(found.shown))))
    rows = math.ceil(len(found.shown) / columns)
    long = names is not None and max(map(len, names)) > 3
    figure = new_figure((1.6 if long else 1.25) * columns, 1.6 * rows + 0.6)
    with style():
        figure.suptitle(title, fontsize=10)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for panel in panels:
            panel.axis("off")
        for panel, image in zip(panels, found.shown):
            _draw_image(panel, image.image)
            label, prediction = (_name(names, each) for each in (image.label, image.prediction))
            arrow = "\n" if long else " "
            panel.set_title(
                f"{label} taken for{arrow}{prediction}\n{image.probability:.1%}", fontsize=7.5, fontweight="normal"
            )
    return figure


def class_names(config: Config) -> Optional[Sequence[str]]:
    """The names of the classes by label, where they are known."""
    return label_names(config.data.name) if config.data.name in MNIST_LIKE else None


def _misclassified_in(model: paddle.nn.Layer, batch: list[Any], before: int) -> list[MisclassifiedImage]:
    output = next(tensors_in(model(*batch[:-1])), None)
    images, labels = batch[0], batch[-1]
    fits = output is not None and output.ndim == 2 and output.shape[1] > 1 and images.ndim in (3, 4)
    if not fits or int(np.prod(labels.shape)) != len(images):
        shape = None if output is None else list(output.shape)
        raise ConfigError(
            "Wrongly classified images can be shown of a model that gives scores [B, classes] for images [B, C, H, W] "
            f"with one label each; found images {list(images.shape)}, output {shape}, labels {list(labels.shape)}."
        )
    probabilities = _probabilities(output)
    predictions, truth = probabilities.argmax(1), labels.numpy().reshape(-1)
    return [
        MisclassifiedImage(
            before + int(i), as_array(images[int(i)]), int(truth[i]), int(predictions[i]), float(probabilities[i].max())
        )
        for i in np.flatnonzero(predictions != truth)
    ]


def _probabilities(output: Any) -> np.ndarray:
    given = as_array(output)
    if given.min() >= 0 and np.allclose(given.sum(1), 1, atol=1e-3):
        return given
    return paddle.nn.functional.softmax(paddle.to_tensor(given)).numpy()


def _draw_image(panel: Any, image: np.ndarray) -> None:
    image = image[None] if image.ndim == 2 else image
    low, high = image.min(), image.max()
    image = (image - low) / (high - low) if high > low else np.zeros_like(image)
    if len(image) == 3:
        panel.imshow(image.transpose(1, 2, 0))
    else:
        panel.imshow(image[0], cmap="gray_r")


def _name(names: Optional[Sequence[str]], label: int) -> str:
    return names[label] if names is not None and 0 <= label < len(names) else str(label)
