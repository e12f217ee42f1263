"""Data: where it comes from, and the resumable order in which a run sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paddle_resume._lazy import loader

if TYPE_CHECKING:
    from paddle_resume.data.augment import ColorJitter as ColorJitter
    from paddle_resume.data.augment import RandomCrop as RandomCrop
    from paddle_resume.data.augment import RandomErasing as RandomErasing
    from paddle_resume.data.augment import RandomHorizontalFlip as RandomHorizontalFlip
    from paddle_resume.data.augment import RandomRotation as RandomRotation
    from paddle_resume.data.augment import Transform as Transform
    from paddle_resume.data.digits import load_digits as load_digits
    from paddle_resume.data.image_arrays import ImageArrays as ImageArrays
    from paddle_resume.data.image_folder import ImageFolder as ImageFolder
    from paddle_resume.data.mnist import load_mnist as load_mnist
    from paddle_resume.data.text import TextDataset as TextDataset

# Some of them import Paddle, others are read where there must be none.
_HOMES = {
    "ColorJitter": "augment",
    "ImageArrays": "image_arrays",
    "ImageFolder": "image_folder",
    "RandomCrop": "augment",
    "RandomErasing": "augment",
    "RandomHorizontalFlip": "augment",
    "RandomRotation": "augment",
    "TextDataset": "text",
    "Transform": "augment",
    "load_digits": "digits",
    "load_mnist": "mnist",
}
__all__ = [*_HOMES]
__getattr__ = loader(__name__, _HOMES)
