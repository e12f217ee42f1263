"""From a config to objects: the data, the model and its like, and the whole run."""

from paddle_resume.builders.data import MNIST_LIKE, DataSplits, build_data, build_split, describe, part_of
from paddle_resume.builders.model import build_metrics, build_model, build_model_with, choose_device, model_with_weights
from paddle_resume.builders.run import Run, build_run, count_steps, evaluate_weights, run_length

__all__ = [
    "MNIST_LIKE",
    "DataSplits",
    "Run",
    "build_data",
    "build_metrics",
    "build_model",
    "build_model_with",
    "build_run",
    "build_split",
    "choose_device",
    "count_steps",
    "describe",
    "evaluate_weights",
    "model_with_weights",
    "part_of",
    "run_length",
]
