"""Losses `(output, label) -> mean loss`, with state in all the places in which a program can keep it."""

from __future__ import annotations

import functools
import itertools

import paddle
from paddle import nn

CALLS = 0
HISTORY = {"seen": []}


class CenterLoss(nn.Layer):
    """Remembers the outputs in a buffer, and has a parameter that nobody trains."""

    def __init__(self):
        super().__init__()
        self.inner = nn.CrossEntropyLoss()
        self.register_buffer("center", paddle.zeros([2]))
        self.calls = 0

    def forward(self, output, label):
        self.calls += 1
        self.center = 0.8 * self.center + 0.2 * output.detach().mean(0)
        return self.inner(output - self.center, label) * (1 + 0.01 * (self.calls % 7))


def closure():
    count, kept, turn = 0, [], itertools.count(1)

    def loss(output, label):
        nonlocal count
        count += 1
        kept.append(float(output.mean()))
        del kept[:-3]
        return nn.functional.cross_entropy(output, label) * (1 + 0.01 * (count % 9) + 0.01 * sum(kept)) + (
            0.001 * (next(turn) % 5)
        )

    return loss


def _scaled(kept, output, label, *, steps):
    kept["n"] = kept.get("n", 0) + next(steps)
    return nn.functional.cross_entropy(output, label) * (1 + 0.01 * kept["n"])


def counting_partial():
    return functools.partial(_scaled, {}, steps=itertools.count(0, 0.01))


def in_module(output, label):
    global CALLS
    CALLS += 1
    HISTORY["seen"].append(CALLS % 4)
    return nn.functional.cross_entropy(output, label) * (1 + 0.01 * (CALLS % 9) + 0.001 * sum(HISTORY["seen"][-3:]))


def on_function(output, label):
    on_function.calls = getattr(on_function, "calls", 0) + 1
    return nn.functional.cross_entropy(output, label) * (1 + 0.01 * (on_function.calls % 6))


def by_default(output, label, kept=[0]):  # noqa: B006 (what a program does)
    kept[0] += 1
    return nn.functional.cross_entropy(output, label) * (1 + 0.01 * (kept[0] % 6))


LOSSES = {
    "stock": nn.CrossEntropyLoss,
    "layer": CenterLoss,
    "closure": closure,
    "partial": counting_partial,
    "module": lambda: in_module,
    "function": lambda: on_function,
    "default-argument": lambda: by_default,
}
