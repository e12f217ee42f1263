"""Layers that take [N, 8] to [N, 8], each with state of another kind."""

from __future__ import annotations

import random
from typing import ClassVar

import numpy as np
import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute


class Dense(nn.Layer):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        return paddle.tanh(self.fc(x))


class Around(nn.Layer):
    """One of Paddle's own layers, on another shape and back."""

    def __init__(self, layer, shape):
        super().__init__()
        self.layer, self.shape = layer, shape

    def forward(self, x):
        out = self.layer(x.reshape([-1, *self.shape]))
        out = out[0] if isinstance(out, tuple) else out
        return out.reshape([x.shape[0], -1, 8]).mean(1)


class Embedded(nn.Layer):
    def __init__(self, sparse):
        super().__init__()
        self.table = nn.Embedding(16, 3, sparse=sparse)

    def forward(self, x):
        return x + self.table((x.detach() * 10).floor().clip(0, 15).astype("int64")).sum(-1)


class Buffered(nn.Layer):
    """A mean of what came by, in a buffer that is `put` anew, or filled in place; `late`: from the first step on."""

    def __init__(self, persistable=True, late=False, in_place=False):
        super().__init__()
        self.kept, self.in_place = persistable, in_place
        if not late:
            self._make()

    def _make(self):
        self.register_buffer("mean", paddle.zeros([8]), persistable=self.kept)

    def forward(self, x):
        if "mean" not in self._buffers:
            self._make()
        if self.training:
            new = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            if self.in_place:
                self.mean.set_value(new)
            else:
                self.mean = new
        return x - self.mean


class Tied(nn.Layer):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(paddle.tanh(self.one(x)))


class Counting(nn.Layer):
    """Numbers and lists that are plain Python decide what comes out."""

    calls = 0

    def __init__(self):
        super().__init__()
        self.recent, self.by_mode = [], {True: 0, False: 0}

    def forward(self, x):
        self.calls += 1
        self.by_mode[self.training] += 1
        self.recent = [*self.recent[-2:], float(x.mean())]
        return x * (1 + 0.01 * np.tanh(self.calls / 20) + 0.01 * sum(self.recent)) + 0.001 * self.by_mode[True]


class ByClass(nn.Layer):
    """Counts for all objects of the class together."""

    seen: ClassVar = [0]

    def forward(self, x):
        ByClass.seen[0] += 1
        return x * (1 + 0.01 * (ByClass.seen[0] % 5))


class Noisy(nn.Layer):
    """Draws from every generator that there is."""

    def __init__(self):
        super().__init__()
        self.own = np.random.default_rng(3)

    def forward(self, x):
        if not self.training:
            return x
        drawn = random.random() + np.random.rand() + self.own.random()
        return x + 0.01 * drawn + 0.01 * paddle.randn(x.shape)


class Skipping(nn.Layer):
    """Leaves out layers at random, and grows one in the sixth call."""

    def __init__(self):
        super().__init__()
        self.parts = nn.LayerList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x):
        for part in self.parts:
            if not self.training or random.random() < 0.7:
                x = paddle.tanh(part(x))
        return x


class Hooked(nn.Layer):
    """Hooks that keep something."""

    def __init__(self):
        super().__init__()
        self.fc, self.sums = nn.Linear(8, 8), []
        self.fc.register_forward_post_hook(self._watch)
        self.fc.weight.register_hook(self._scale)

    def _watch(self, layer, inputs, output):
        self.sums.append(float(output.sum()))
        return output + 0.001 * np.tanh(sum(self.sums[-3:]))

    def _scale(self, gradient):
        return gradient * (1 + 0.01 * len(self.sums))

    def forward(self, x):
        return self.fc(x)


class Recomputed(nn.Layer):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2), nn.Tanh())

    def forward(self, x):
        return recompute(self.inner, x) if self.training else self.inner(x)


def _normed(norm, **options):
    return lambda: norm(nn.Linear(8, 8), **options)


PARTS = {
    "linear": Dense,
    "dropout": lambda: nn.Dropout(0.3),
    "batch-norm": lambda: nn.BatchNorm1D(8),
    "conv": lambda: Around(nn.Conv1D(1, 2, 3, padding=1), (1, 8)),
    "lstm": lambda: Around(nn.LSTM(2, 8, dropout=0.1, num_layers=2), (4, 2)),
    "gru": lambda: Around(nn.GRU(2, 8), (4, 2)),
    "simple-rnn": lambda: Around(nn.SimpleRNN(2, 4, direction="bidirect"), (4, 2)),
    "attention": lambda: Around(nn.TransformerEncoderLayer(4, 2, 8), (2, 4)),
    "embedding": lambda: Embedded(False),
    "sparse-embedding": lambda: Embedded(True),
    "buffer": Buffered,
    "hidden-buffer": lambda: Buffered(False),
    "late-buffer": lambda: Buffered(late=True),
    "late-hidden-buffer": lambda: Buffered(False, late=True),
    "buffer-in-place": lambda: Buffered(False, in_place=True),
    "tied": Tied,
    "counting": Counting,
    "by-class": ByClass,
    "noisy": Noisy,
    "skipping": Skipping,
    "hooked": Hooked,
    "recompute": Recomputed,
    "weight-norm": _normed(nn.utils.weight_norm),
    "spectral-norm": _normed(nn.utils.spectral_norm),
    "group-norm": lambda: Around(nn.GroupNorm(2, 4), (4, 2)),
    "instance-norm": lambda: Around(nn.InstanceNorm1D(2), (2, 4)),
    "layer-norm": lambda: nn.LayerNorm(8),
    "prelu": lambda: nn.PReLU(8),
    "to-static": lambda: paddle.jit.to_static(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2))),
}


class Net(nn.Layer):
    """Parts one after another, and an output of two numbers."""

    def __init__(self, names):
        super().__init__()
        self.first = nn.Linear(8, 8)  # Some of Paddle's kernels cannot do without their input's gradient.
        self.parts = nn.LayerList([PARTS[name]() for name in names])
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        x = self.first(x)
        for part in self.parts:
            x = part(x)
        return self.out(x)
