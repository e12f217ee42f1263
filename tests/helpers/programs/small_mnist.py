"""Runs a program in which Paddle's MNIST class finds the package's small digits, made as large as those of MNIST."""

import gzip
import runpy
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.data.digits import load_digits

COUNTS = {"train": slice(0, 400), "test": slice(400, 500)}


def write(folder, mode):
    """The two files of a part in MNIST's format; returns them as arguments of the dataset."""
    digits = load_digits()
    small = digits.images[COUNTS[mode]] * 255 / 16
    images = np.pad(np.kron(small, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2))).astype(">u1")
    labels = digits.labels[COUNTS[mode]].astype(">u1")
    paths = {"image_path": folder / f"{mode}-images.gz", "label_path": folder / f"{mode}-labels.gz"}
    paths["image_path"].write_bytes(gzip.compress(struct.pack(">4i", 2051, *images.shape) + images.tobytes(), 1))
    paths["label_path"].write_bytes(gzip.compress(struct.pack(">2i", 2049, len(labels)) + labels.tobytes(), 1))
    return {name: str(path) for name, path in paths.items()}


def small_mnist(mode, original=paddle.vision.datasets.MNIST, **options):
    """Paddle's dataset of one part, with the options of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return original(mode=mode, **write(Path(folder), mode), **options)


if __name__ == "__main__":
    paddle.vision.datasets.MNIST = small_mnist
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
