"""The datasets of this package that a config names by their class."""

from paddle_resume.data.cifar import Cifar10, Cifar100
from paddle_resume.data.image_folder import ImageFolder
from paddle_resume.data.text import TextDataset

__all__ = ["Cifar10", "Cifar100", "ImageFolder", "TextDataset"]
