"""Random changes to images for training, each drawn from the generator that it is given."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

__all__ = ["ColorJitter", "RandomCrop", "RandomErasing", "RandomHorizontalFlip", "RandomRotation", "Transform"]

_FULL_TURN = 256  # Pillow's hue is a byte, which wraps around.


class Transform(ABC):
    """A random change to a Pillow image of mode "L" or "RGB"; the result has the same size and mode.

    All that is random comes from `generator`, which is new for each sample and a pure function of the run's seed,
    the epoch and the sample's index. A transform keeps no state from one image to the next.
    """

    @abstractmethod
    def __call__(self, image: Image.Image, generator: np.random.RandomState) -> Image.Image:
        """The changed image."""


@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Left and right exchanged, with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check(0 <= self.p <= 1, "p", self.p, "a probability from 0 to 1")

    def __call__(self, image: Image.Image, generator: np.random.RandomState) -> Image.Image:
        return ImageOps.mirror(image) if generator.random_sample() < self.p else image


@dataclass(frozen=True)
class RandomCrop(Transform):
    """A window of the image's own size, somewhere in the image with `padding` black pixels around it."""

    padding: int = 4

    def __post_init__(self) -> None:
        _check(self.padding >= 1, "padding", self.padding, "1 or more pixels")

    def __call__(self, image: Image.Image, generator: np.random.RandomState) -> Image.Image:
        left, top = generator.randint(-self.padding, self.padding + 1, 2).tolist()
        # What lies outside the image comes out black.
        return image.crop((left, top, left + image.width, top + image.height))


@dataclass(frozen=True)
class RandomRotation(Transform):
    """Turned about the center by an angle in -degrees..degrees, bilinear, the corners black."""

    degrees: float = 10.0

    def __post_init__(self) -> None:
        _check(0 < self.degrees <= 180, "degrees", self.degrees, "more than 0 and at most 180")

    def __call__(self, image: Image.Image, generator: np.random.RandomState) -> Image.Image:
        return image.rotate(generator.uniform(-self.degrees, self.degrees), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast and saturation scaled by a factor in 1-x..1+x each, and the hue turned by -x..x turns.

    In that order. Saturation and hue leave gray images alone.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        _check(0 <= self.hue <= 0.5, "hue", self.hue, "0 to 0.5")

    def __call__(self, image: Image.Image, generator: np.random.RandomState) -> Image.Image:
        brightness, contrast, saturation, hue = generator.uniform(-1, 1, 4).tolist()
        image = ImageEnhance.Brightness(image).enhance(1 + self.brightness * brightness)
        image = ImageEnhance.Contrast(image).enhance(1 + self.contrast * contrast)
        if image.mode == "L":
            return image
        image = ImageEnhance.Color(image).enhance(1 + self.saturation * saturation)
        return _shift_hue(image, self.hue * hue) if self.hue else image


@dataclass(frozen=True)
class RandomErasing(Transform):
    """With probability `p`, a rectangle of `smallest`..`largest` of the area made noise (Zhong et al. 2020).

    Its height is 0.3 to 1/0.3 times its width; it is cut to what fits into the image.
    """

    p: float = 0.5
    smallest: float = 0.02
    largest: float = 0.33

    def __post_init__(self) -> None:
        _check(0 <= self.p <= 1, "p", self.p, "a probability from 0 to 1")
        _check(0 < self.smallest <= self.largest <= 1, "smallest", self.smallest, "more than 0 and at most `largest`")

    def __call__(self, image: Image.Image, generator: np.random.RandomState) -> Image.Image:
        if generator.random_sample() >= self.p:
            return image
        area = generator.uniform(self.smallest, self.largest) * image.width * image.height
        ratio = math.exp(generator.uniform(math.log(0.3), -math.log(0.3)))
        width = min(image.width, max(1, round(math.sqrt(area / ratio))))
        height = min(image.height, max(1, round(math.sqrt(area * ratio))))
        left = generator.randint(image.width - width + 1)
        top = generator.randint(image.height - height + 1)
        noise = generator.randint(0, 256, (height, width, len(image.getbands()))).astype(np.uint8)
        erased = image.copy()
        erased.paste(Image.fromarray(noise.squeeze(-1) if image.mode == "L" else noise), (int(left), int(top)))
        return erased


def _shift_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shift = round(turns * _FULL_TURN)
    turned = hue.point([(level + shift) % _FULL_TURN for level in range(_FULL_TURN)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _check(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}; expected {expected}")
