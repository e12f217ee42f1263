"""The models that this package brings: networks for digits, and a language model."""

from paddle_resume.models.image_classifiers import MLP, MNIST, LeNet
from paddle_resume.models.transformer import TransformerLM

__all__ = ["MLP", "MNIST", "LeNet", "TransformerLM"]
