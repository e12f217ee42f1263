"""A training loop as users of Paddle write it, which `benchmarks.wrap` runs plain and wrapped; run as a script.

    python wrapped_loop.py (small|resnet18) STEPS

It prints the time at the end of each step.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import paddle

SHAPES = {"small": (64,), "resnet18": (3, 64, 64)}
BATCH_SIZE = 8


class Samples(paddle.io.Dataset):
    """Drawn anew each time that one is asked for, so that loading them needs little time and no disk."""

    def __init__(self, shape: tuple[int, ...], count: int) -> None:
        self.shape = shape
        self.count = count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.random.default_rng(index).random(self.shape, np.float32), np.array([index % 10])

    def __len__(self) -> int:
        return self.count


def make_model(name: str) -> paddle.nn.Layer:
    if name == "resnet18":
        return paddle.vision.models.resnet18(num_classes=10)
    return paddle.nn.Sequential(paddle.nn.Linear(64, 64), paddle.nn.ReLU(), paddle.nn.Linear(64, 10))


def train(name: str, steps: int) -> None:
    paddle.seed(1)
    model = make_model(name)
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    loader = paddle.io.DataLoader(Samples(SHAPES[name], BATCH_SIZE * steps), batch_size=BATCH_SIZE, shuffle=True)
    for number, (x, y) in enumerate(loader):
        loss = paddle.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        print(f"step {number} {time.time()}", flush=True)


if __name__ == "__main__":
    paddle.set_device("cpu")
    train(sys.argv[1], int(sys.argv[2]))
