"""What a config can name to make its run not repeatable, each in one place."""

import os
import time

import numpy as np
import paddle

from paddle_resume import Callback


def noise():
    """A number from 0 to 1 that no seed decides."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


class NoisyBackward(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, gradient):
        return gradient + noise()


class Odd(paddle.nn.Layer):
    """Hands on what it gets; from its call `since` on it does to it what `how` says, in training alone."""

    def __init__(self, how, since):
        super().__init__()
        self.how, self.since, self.calls = how, since, 0

    def forward(self, x):
        if self.training:
            self.calls += 1
        if not self.training or self.calls < self.since:
            return x * 1.0
        if self.how == "forward" or self.how == f"rank {os.environ.get('PADDLE_TRAINER_ID')}":
            return x + noise()
        if self.how == "backward":
            return NoisyBackward.apply(x)
        if self.how == "dropout":
            paddle.seed(time.time_ns() % 2**31)
            return paddle.nn.functional.dropout(x, 0.5)
        if self.how == "once" and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            return x + 1.0
        return x * 1.0

    marker = "seen"


class Net(paddle.nn.Layer):
    """Two linear layers; `how` says what is odd about it: something of `Odd`, `between`, or nothing."""

    def __init__(self, how="", since=3):
        super().__init__()
        self.flatten = paddle.nn.Flatten()
        self.first = paddle.nn.Linear(784, 8)
        self.odd = Odd(how, since)
        self.act = paddle.nn.Tanh()
        self.second = paddle.nn.Linear(8, 10)
        self.how = how

    def forward(self, x):
        x = self.odd(self.first(self.flatten(x)))
        if self.how == "between" and self.training:
            x = x + noise()
        return self.second(self.act(x))


class Data(paddle.io.Dataset):
    """Forty images of which number `odd`, if there is one, never comes twice the same."""

    def __init__(self, odd=-1):
        self.images = np.random.default_rng(0).random((40, 1, 28, 28), np.float32)
        self.odd = odd

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        added = np.float32(noise() if index == self.odd else 0)
        return self.images[index] + added, np.array([index % 10])

    def identity(self):
        return {"odd": self.odd}


class Draws(Callback):
    """Draws from NumPy's generator an unknown number of times after step 2."""

    def on_step_end(self, run):
        if run.step == 2:
            np.random.rand(1 + int(noise() * 1000))


class Nudges(Callback):
    """Changes a weight after step 2."""

    def on_step_end(self, run):
        if run.step == 2:
            run.model.second.bias.set_value(run.model.second.bias + noise())
