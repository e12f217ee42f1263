"""Images in memory made another size or given another number of channels, for models that want them so."""

from __future__ import annotations

from typing import Optional

import numpy as np
from PIL import Image

from paddle_resume.data.image_arrays import ImageArrays

_GRAY = np.array([299, 587, 114])  # ITU-R 601-2, as Pillow has it


def reshaped(data: ImageArrays, channels: Optional[int] = None, size: Optional[int] = None) -> ImageArrays:
    """The images with so many channels (1 or 3) and `size` pixels a side, bilinear; None leaves each as it is."""
    images = data.images
    if channels is not None:
        images = _with_channels(images, channels)
    if size is not None:
        images = _resized(images, size)
    return ImageArrays(images, data.labels, num_classes=data.num_classes)


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    if images.shape[-1] == channels:
        return images
    if channels == 1:
        return ((images.astype(np.int64) @ _GRAY + 500) // 1000).astype(np.uint8)[..., None]
    return images.repeat(channels, axis=-1)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    made = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for i, image in enumerate(images):
        for channel in range(images.shape[-1]):
            one = Image.fromarray(image[..., channel]).resize((size, size), Image.Resampling.BILINEAR)
            made[i, ..., channel] = np.asarray(one)
    return made
