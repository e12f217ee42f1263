"""A run of 12 steps whose course depends on state that nobody lists; `--what` says which."""

import argparse
import collections
import copy
import enum
import random
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
from generated.callbacks import Indirect, Reached, Step
from paddle import nn

from paddle_resume import Best, Callback, Monitoring, SaveSchedule, StepOptions, Trainer, WeightAverage
from paddle_resume.loggers import JsonlLogger

CALLS = 0


class Points(paddle.io.Dataset):
    """Points of eight numbers, labelled by whether their sum is large."""

    def __init__(self, count=40):
        self.x = np.random.default_rng(0).random((count, 8), np.float32)
        self.y = (self.x.sum(axis=1, keepdims=True) > 4).astype(np.int64)

    def __getitem__(self, index):
        return self.x[index], self.y[index]

    def __len__(self):
        return len(self.x)


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.hidden, self.drop, self.out = nn.Linear(8, 12), nn.Dropout(0.3), nn.Linear(12, 2)

    def forward(self, x):
        return self.out(self.drop(paddle.tanh(self.hidden(x))))


class Recurrent(nn.Layer):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.out = getattr(nn, kind)(2, 8, dropout=0.2, num_layers=2), nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.cell(x.reshape([-1, 4, 2]))[0][:, -1])


class Reassigned(Net):
    """Puts another tensor into a buffer at each step; `late`: registers it in the first one."""

    def __init__(self, persistable, late=False):
        super().__init__()
        self.late, self.kept = late, persistable
        if not late:
            self.register_buffer("mean", paddle.zeros([8]), persistable=persistable)

    def forward(self, x):
        if "mean" not in self._buffers:
            self.register_buffer("mean", paddle.zeros([8]), persistable=self.kept)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().forward(x - self.mean)


class CenterLoss(nn.Layer):
    """A loss that remembers the outputs."""

    def __init__(self):
        super().__init__()
        self.inner = nn.CrossEntropyLoss()
        self.register_buffer("center", paddle.zeros([2]))
        self.calls = 0

    def forward(self, output, label):
        self.calls += 1
        self.center = 0.8 * self.center + 0.2 * output.detach().mean(0)
        return self.inner(output - self.center, label) * (1 + 0.01 * self.calls)


class AtEpochs(Callback):
    """Changes parts of Paddle's own at the begin of an epoch, which a resume within it does not call again."""

    def on_epoch_begin(self, trainer):
        if trainer.step == 5:
            trainer.model.drop.eval()
            trainer.model.hidden.bias.stop_gradient = True
            trainer.model.out.weight.optimize_attr["learning_rate"] = 0.5
            trainer.optimizer._grad_clip = nn.ClipGradByNorm(0.05)


class Containers(Callback):
    """Keeps state of all kinds, some of it in two places, and puts what it says into a weight."""

    def __init__(self):
        self.last = (0.0, 0)
        self.window = collections.deque(maxlen=3)
        self.seen = set()
        self.by_step = collections.OrderedDict()
        self.counts = {0: 0, "all": [0]}
        self.alias = self.counts["all"]
        self.python, self.numpy, self.old = random.Random(1), np.random.default_rng(2), np.random.RandomState(3)
        self.average = None
        self.big = np.zeros(2000)
        self.back = 1

    def on_step_end(self, trainer):
        drawn = self.python.random() + self.numpy.random() + self.old.rand()
        self.alias[0] += 1
        self.last = (self.last[0] + drawn, self.last[1] + 1)
        self.window.append(drawn)
        self.seen.add(trainer.step % 5)
        self.by_step[trainer.step] = drawn
        self.by_step.move_to_end(min(self.by_step))
        weight = trainer.model.parameters()[0]
        self.average = weight.clone() if self.average is None else 0.5 * self.average + 0.5 * weight
        self.big += drawn
        self.back = 2 if trainer.step % 4 else 1
        value = self.counts["all"][0] + sum(self.window) + len(self.seen) + next(iter(self.by_step)) + self.big[0]
        weight.set_value(weight + 1e-4 * self.back * (value + self.last[0]) + 1e-3 * self.average)
        assert isinstance(self.last, tuple) and self.window.maxlen == 3


class Forgetful(Callback):
    """Begins anew in every start, and loads weights there, as a careless callback does."""

    def on_train_begin(self, trainer):
        self.losses = []
        trainer.model.hidden.weight.set_value(paddle.full([8, 12], 0.1))

    def on_step_end(self, trainer):
        self.losses.append(float(trainer.learning_rate))
        weight = trainer.model.out.bias
        weight.set_value(weight + 0.01 * len(self.losses))


def slower(step):
    """A rate that depends on how often it was asked for."""
    slower.asked = getattr(slower, "asked", 0) + 1
    return 0.97**slower.asked


class Weighs(Callback):
    """Has the samples drawn by other weights in each epoch."""

    def __init__(self, sampler):
        self.sampler = sampler

    def on_epoch_end(self, trainer):
        self.sampler.weights[trainer.epoch :: 3] *= 4


class MakesItsOwn(Callback):
    """Makes what it needs as the run begins: an average of the weights, a copy that stays, and a small model."""

    def on_train_begin(self, trainer):
        self.average, self.teacher = copy.deepcopy(trainer.model), copy.deepcopy(trainer.model)
        self.aside, self.seen, self.scale = paddle.nn.Linear(2, 2), [0], lambda value: value + self.seen[0]
        self.rate = paddle.optimizer.lr.StepDecay(0.1, 2)
        self.optimizer = paddle.optimizer.Adam(self.rate, parameters=self.aside.parameters())

    def on_step_end(self, trainer):
        self.seen[0] += 1
        self.later = [*getattr(self, "later", ()), [trainer.step]][-3:]
        self.aside(paddle.ones([1, 2])).sum().backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.rate.step()
        change = float(self.aside.bias.sum()) + self.rate.last_lr + self.scale(1) / 10 + sum(map(sum, self.later)) / 10
        for mean, stays, weight in zip(
            self.average.parameters(), self.teacher.parameters(), trainer.model.parameters()
        ):
            mean.set_value(0.9 * mean + 0.1 * weight)
            weight.set_value(weight + 0.01 * (mean - stays) + 1e-4 * change)


class Averaged(Callback):
    """Paddle's own average of the weights, which lives beside the optimizer, moves a weight now and then."""

    def __init__(self, parameters):
        self.average = paddle.incubate.ModelAverage(0.5, parameters=parameters, min_average_window=2)

    def on_step_end(self, trainer):
        self.average.step()
        if trainer.step % 5 == 4:
            self.average.apply(need_restore=False)


class Momentous(paddle.optimizer.Momentum):
    """An optimizer of a user's, which slows down by a count of its own."""

    made = 0

    def step(self):
        self.made += 1
        self.set_lr(0.1 / (1 + 0.1 * self.made))
        super().step()


class Drawing(Points):
    """A dataset with a generator of its own."""

    def __init__(self):
        super().__init__()
        self.noise = np.random.default_rng(5)

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return (x + 0.1 * self.noise.random(8)).astype(np.float32), y


class Collate:
    def __init__(self):
        self.calls = 0

    def __call__(self, samples):
        self.calls += 1
        x, y = zip(*samples)
        return [paddle.to_tensor(np.stack(x) * (1 + 0.01 * self.calls)), paddle.to_tensor(np.stack(y))]


class Recent(paddle.metric.Metric):
    """A metric over the last batches, in a deque."""

    def __init__(self):
        super().__init__()
        self.batches = collections.deque(maxlen=4)

    def name(self):
        return "recent"

    def compute(self, output, label):
        return (output.argmax(1) == label[:, 0]).astype("float32")

    def update(self, correct):
        self.batches.append(float(np.mean(correct)))

    def accumulate(self):
        return sum(self.batches) / max(1, len(self.batches))

    def reset(self):
        self.batches.clear()


class OwnTrainer(Trainer):
    """Keeps a count and a list of its own, and one in the module."""

    def compute_loss(self, batch):
        global CALLS
        CALLS += 1
        self.calls = getattr(self, "calls", 0) + 1
        loss, output = super().compute_loss(batch)
        return loss * (1 + 0.01 * self.calls + 0.01 * CALLS), output


class Phase(enum.Enum):
    WARM = 1
    HOT = 2


class Phases(Step):
    """What it counts is kept by the members of an enumeration."""

    def value(self, trainer):
        phase = Phase(1 + trainer.step % 2)
        phase.seen = getattr(phase, "seen", 0) + trainer.step
        return phase.seen


class Adversary(Step):
    """A perturbation whose gradient nobody clears."""

    def __init__(self):
        self.delta = paddle.ones([4])
        self.delta.stop_gradient = False

    def value(self, trainer):
        (self.delta * self.delta * (1 + trainer.step)).sum().backward()
        return float(self.delta.grad.sum())


CASES = ["lstm", "gru", "simple-rnn", "buffer", "hidden-buffer", "late-buffer", "average-of-buffer", "loss"]
CASES += ["lookahead", "model-average", "epoch-begin", "containers", "train-begin", "optimizer", "dataset", "collate"]
CASES += ["metric", "trainer", "made-at-begin", "schedule", "by-name", "indirect", "sample-weights"]
CASES += ["members", "gradients"]


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=CASES, required=True)
    parser.add_argument("--inline", action="store_true")
    options = parser.parse_args(arguments)
    what = options.what

    paddle_resume.seed_everything(7)
    model = {
        "lstm": lambda: Recurrent("LSTM"),
        "gru": lambda: Recurrent("GRU"),
        "simple-rnn": lambda: Recurrent("SimpleRNN"),
        "buffer": lambda: Reassigned(True),
        "hidden-buffer": lambda: Reassigned(False),
        "late-buffer": lambda: Reassigned(False, late=True),
        "average-of-buffer": lambda: Reassigned(True),
    }.get(what, Net)()
    parameters = model.parameters()
    rate = paddle.optimizer.lr.LambdaDecay(0.1, slower) if what == "schedule" else 0.1
    optimizer = (Momentous if what == "optimizer" else paddle.optimizer.Momentum)(rate, parameters=parameters)
    if what == "lookahead":
        adam = paddle.optimizer.Adam(0.05, parameters=parameters)
        optimizer = paddle.incubate.LookAhead(adam, alpha=0.5, k=5)
    sampler = paddle.io.WeightedRandomSampler(np.ones(40), 40)
    callbacks = {
        "by-name": lambda: [Reached()],
        "indirect": lambda: [Indirect()],
        "members": lambda: [Phases()],
        "gradients": lambda: [Adversary()],
        "sample-weights": lambda: [Weighs(sampler)],
        "epoch-begin": lambda: [AtEpochs()],
        "containers": lambda: [Containers()],
        "train-begin": lambda: [Forgetful()],
        "made-at-begin": lambda: [MakesItsOwn()],
        "model-average": lambda: [Averaged(parameters)],
    }.get(what, list)()
    data = Drawing() if what == "dataset" else Points()
    if what == "collate":
        data = paddle.io.DataLoader(data, batch_size=8, shuffle=True, collate_fn=Collate())
    if what == "sample-weights":
        order = paddle.io.BatchSampler(sampler=sampler, batch_size=8)
        data = paddle.io.DataLoader(data, batch_sampler=order)
    trainer = (OwnTrainer if what == "trainer" else Trainer)(
        model,
        optimizer,
        loss=CenterLoss() if what == "loss" else nn.CrossEntropyLoss(),
        console=False,
        metrics=[Recent()] if what == "metric" else [],
        callbacks=callbacks,
        logger=JsonlLogger("log"),
        save_dir="checkpoint",
        model_path="model.pdparams",
        seed=7,
        schedule=SaveSchedule(every_steps=3, keep=100, background=not options.inline),
        step=StepOptions(),
        monitoring=Monitoring(
            log_every=3,
            best=Best("valid/loss"),
            ema=WeightAverage(0.8) if what == "average-of-buffer" else None,
        ),
    )
    trainer.train(data, Points(24), epochs=9, max_steps=12, global_batch_size=8)


if __name__ == "__main__":
    main()
