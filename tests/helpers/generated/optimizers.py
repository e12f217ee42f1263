"""Optimizers and learning rates: Paddle's own, wrapped, and those of a user's class."""

from __future__ import annotations

import paddle
from paddle import nn, optimizer
from paddle.optimizer import lr


class Momentous(optimizer.Momentum):
    """Slows down by a count of its own."""

    made = 0

    def step(self):
        self.made += 1
        for group in self._param_groups if isinstance(self._param_groups[0], dict) else ():
            group.setdefault("seen", self.made)
        self._momentum = 0.9 - 0.3 * (self.made % 3 == 2)
        super().step()


class Sawtooth(lr.LRScheduler):
    """A schedule of a user's with a list of its own."""

    def __init__(self, rate):
        self.kept = [0]
        super().__init__(rate)

    def get_lr(self):
        self.kept.append(len(self.kept) % 4)
        return self.base_lr * (1 - 0.1 * self.kept[-1] + 0.01 * sum(self.kept[-3:]))


def _plain(name, **options):
    return lambda rate, parameters, clip: getattr(optimizer, name)(
        rate, parameters=parameters, grad_clip=clip, **options
    )


def _lookahead(rate, parameters, clip):
    return paddle.incubate.LookAhead(optimizer.Adam(rate, parameters=parameters, grad_clip=clip), alpha=0.5, k=4)


def _own(rate, parameters, clip):
    return Momentous(rate, parameters=parameters, grad_clip=clip, use_nesterov=True)


def _groups(rate, parameters, clip):
    half = len(parameters) // 2
    groups = [{"params": parameters[:half]}, {"params": parameters[half:], "learning_rate": 0.3, "weight_decay": 0.01}]
    return optimizer.AdamW(rate, parameters=groups, grad_clip=clip)


def _lbfgs(rate, parameters, clip):
    return optimizer.LBFGS(0.1, max_iter=3, history_size=4, parameters=parameters)


OPTIMIZERS = {
    "sgd": _plain("SGD"),
    "momentum": _plain("Momentum"),
    "nesterov": _plain("Momentum", use_nesterov=True, weight_decay=0.01),
    "adam": _plain("Adam"),
    "lazy-adam": _plain("Adam", lazy_mode=True),
    "adamw": _plain("AdamW", weight_decay=0.05),
    "amsgrad": _plain("Adam", amsgrad=True),
    "multi-tensor": _plain("Momentum", use_multi_tensor=True),
    "multi-tensor-adam": _plain("Adam", use_multi_tensor=True),
    "adamax": _plain("Adamax"),
    "adagrad": _plain("Adagrad"),
    "adadelta": _plain("Adadelta"),
    "rmsprop": _plain("RMSProp", centered=True, momentum=0.5),
    "lamb": _plain("Lamb"),
    "nadam": _plain("NAdam"),
    "radam": _plain("RAdam"),
    "rprop": lambda rate, parameters, clip: optimizer.Rprop(
        0.01, learning_rate_range=(1e-4, 0.1), parameters=parameters
    ),
    "asgd": _plain("ASGD", batch_num=3),
    "groups": _groups,
    "subclass": _own,
    "lookahead": _lookahead,
    "lbfgs": _lbfgs,
}
OPTIMIZERS = {
    name: make
    for name, make in OPTIMIZERS.items()
    if name not in ("nadam", "radam", "rprop", "asgd") or hasattr(optimizer, {"rprop": "Rprop"}.get(name, "NAdam"))
}
"""Without those that Paddle 2.6 has not."""
DENSE_ONLY = (
    "adamw",
    "groups",
    "adadelta",
    "adamax",
    "lamb",
    "nadam",
    "radam",
    "rprop",
    "asgd",
    "amsgrad",
    "lbfgs",
    "lookahead",
)
"""They take no sparse gradients."""

SCHEDULERS = {
    "number": lambda: 0.05,
    "step-decay": lambda: lr.StepDecay(0.05, 3, 0.7),
    "cosine": lambda: lr.CosineAnnealingDecay(0.05, 5),
    "one-cycle": lambda: lr.OneCycleLR(0.05, total_steps=60),
    "cyclic": lambda: lr.CyclicLR(0.02, 0.06, 3),
    "warmup": lambda: lr.LinearWarmup(lr.PolynomialDecay(0.05, 20), 4, 0.0, 0.05),
    "lambda": lambda: lr.LambdaDecay(0.05, lambda step: 0.95**step),
    "multiplicative": lambda: lr.MultiplicativeDecay(0.05, lambda step: 0.97),
    "plateau": lambda: lr.ReduceOnPlateau(0.05, factor=0.5, patience=0, threshold=10.0),
    "own": lambda: Sawtooth(0.05),
}

CLIPS = {
    "none": lambda: None,
    "norm": lambda: nn.ClipGradByNorm(0.5),
    "global-norm": lambda: nn.ClipGradByGlobalNorm(0.5),
    "value": lambda: nn.ClipGradByValue(0.1),
}
