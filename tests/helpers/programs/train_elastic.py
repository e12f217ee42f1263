"""Trains small nets as elastic runs, one after the other, each in a folder of its own; some can be told to stop or die.

One start of it has several nets, since a start takes longer than they do.
"""

import argparse
import os
import signal
import sys
import time

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
from paddle import nn

from paddle_resume import Monitoring, Processes, SaveSchedule, StepOptions, Trainer
from paddle_resume.errors import PaddleResumeError
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import Accuracy, Perplexity
from paddle_resume.models.transformer import TransformerLM
from paddle_resume.parallel import exchange
from paddle_resume.parallel.world import World
from paddle_resume.rng import derive_seed
from paddle_resume.training import elastic as elastic_step
from paddle_resume.training import parts
from paddle_resume.training.best import Best
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.ema import WeightAverage

STEPS = 9
MASK = paddle.to_tensor([0.1, -np.inf, 0.7])  # Here, since its name counts the tensors that there were before.


class Pictures(paddle.io.Dataset):
    """Pictures [1, 8, 8] with random shifts, labelled by which half is brighter."""

    def __init__(self, count):
        self.x = np.random.RandomState(1).rand(count, 1, 8, 8).astype("float32")
        self.y = (self.x[:, 0, :4].sum((1, 2)) > self.x[:, 0, 4:].sum((1, 2))).astype("int64").reshape(-1, 1)

    def __getitem__(self, index):
        return np.roll(self.x[index], np.random.randint(2), axis=-1), self.y[index]

    def __len__(self):
        return len(self.x)


class Texts(paddle.io.Dataset):
    """Sequences of numbers below 12, of different lengths, each after the one before."""

    def __init__(self, count, label="next"):
        draw = np.random.RandomState(2)
        self.texts = [draw.randint(1, 12, 4 + i % 5) for i in range(count)]
        self.label = label

    def __getitem__(self, index):
        text = self.texts[index]
        return text[:-1], text[1:] if self.label == "next" else np.array([text.sum() % 2])

    def __len__(self):
        return len(self.texts)


class Stream(paddle.io.IterableDataset):
    """Points that are drawn as they come."""

    def __iter__(self):
        for _ in range(60):
            x = np.random.rand(6).astype("float32")
            yield x, np.array([x.sum() > 3], "int64")


class Named(Pictures):
    """Pictures as dicts, of which one share has another mean than the next."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return {"input": x, "label": y}


class Halves(paddle.io.BatchSampler):
    """Batches of 7 and 13 by turns, in an order that goes on from that of the epoch before."""

    def __init__(self, count):
        self.order = np.arange(count)

    def __iter__(self):
        self.order = np.roll(np.random.permutation(self.order), 1)
        for first in range(0, len(self.order), 20):
            yield self.order[first : first + 7].tolist()
            yield self.order[first + 7 : first + 20].tolist()

    def __len__(self):
        return sum((first < len(self.order)) + (first + 7 < len(self.order)) for first in range(0, len(self.order), 20))


class NamedLosses(Trainer):
    """Several losses by name, and further scalars whose sum is another in each order."""

    def compute_loss(self, batch):
        output = batch.through(self.model)
        spread = nn.functional.sigmoid(output).std() / 3
        # An evaluation has whatever draws its process comes to.
        self.log(draw=np.random.standard_cauchy() if self.model.training else 0)
        return {"fit": self.loss(output, batch.label), "spread": spread}, output


class Logs(Callback):
    """Logs by itself, in every process."""

    only_watches = True

    def on_step_end(self, trainer):
        trainer.log(third=trainer.step / 3)


def padded(samples):
    """A batch as long as its longest sample, so that its shape depends on which samples it is made of."""
    parts = []
    for column in zip(*samples):
        longest = max(map(len, column))
        parts.append(np.stack([np.pad(each, (0, longest - len(each))) for each in column]).astype("int64"))
    return [paddle.to_tensor(part) for part in parts]


class Recurrent(nn.Layer):
    """Embedding, LSTM with dropout between its layers, and a part that only some batches use."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(12, 6)
        self.lstm = nn.LSTM(6, 8, num_layers=2, dropout=0.2)
        self.last, self.seldom = nn.Linear(8, 2), nn.Linear(8, 2)
        self.register_buffer("passes", paddle.zeros([1], "int64"))
        self.register_buffer("longest", paddle.ones([1]))
        for buffer in (self.passes, self.longest):
            buffer.name = f"recurrent_{buffer.dtype}"  # Its own counts the tensors that there were before.
        self.register_buffer("mask", MASK)

    def forward(self, x):
        if self.training:
            self.passes.set_value(self.passes + 1)
            self.longest.set_value(paddle.maximum(self.longest, paddle.to_tensor([float(x.shape[1])])))
        outputs, _ = self.lstm(self.table(x))
        hidden = outputs.mean(1)
        return self.last(hidden) + (self.seldom(hidden) if x.shape[1] > 6 else 0)


def convolution():
    return nn.Sequential(nn.Conv2D(1, 4, 3), nn.ReLU(), nn.MaxPool2D(2, 2), nn.Flatten(), nn.Linear(36, 2))


def batch_norm():
    return nn.Sequential(
        nn.Conv2D(1, 4, 3), nn.BatchNorm2D(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.BatchNorm1D(8),
        nn.Linear(8, 2),
    )  # fmt: skip


def dropout():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 784), nn.ReLU(), nn.Linear(784, 256), nn.Linear(256, 2))


def norms():
    weight, spectral = nn.utils.weight_norm(nn.Linear(64, 8)), nn.utils.spectral_norm(nn.Linear(8, 8))
    return nn.Sequential(nn.Flatten(), weight, nn.Tanh(), spectral, nn.Linear(8, 2))


def plain():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))


class Tokens(nn.Layer):
    """The loss of a language model, with padding left out."""

    def forward(self, output, label):
        flat = output.reshape([-1, output.shape[-1]])
        return nn.functional.cross_entropy(flat, label.reshape([-1]), ignore_index=0)


def adam(model, **options):
    return paddle.optimizer.Adam(0.01, parameters=model.parameters(), **options)


def clipped(model):
    return paddle.optimizer.AdamW(
        paddle.optimizer.lr.PolynomialDecay(0.01, 40),
        parameters=model.parameters(),
        grad_clip=nn.ClipGradByGlobalNorm(0.5),
    )


def momentum(model):
    return paddle.optimizer.Momentum(0.05, parameters=model.parameters())


def lbfgs(model):
    return paddle.optimizer.LBFGS(0.1, max_iter=3, parameters=model.parameters())


def frozen_base(model):
    return paddle.optimizer.Adam(0.01, parameters=model[-1].parameters())


def case(**options):
    """One net, how it is trained, and on what."""
    return options


TEXT_LENGTH = case(context=16, width=16, depth=1, heads=2, dropout=0.1)
NETS = {
    "convolution": case(net=convolution, data=Pictures, optimizer=momentum),
    "batch-norm": case(net=batch_norm, data=Pictures, optimizer=adam, batch_size=11, accumulate_steps=2),
    "dropout": case(net=dropout, data=Pictures, optimizer=clipped, ema=True, best=True, batch_size=10),
    "transformer": case(
        net=lambda: TransformerLM(12, **TEXT_LENGTH),
        data=Texts,
        optimizer=clipped,
        loss=Tokens,
        metrics=lambda: [Perplexity()],
        collate=padded,
        batch_size=9,
    ),
    "lstm": case(
        net=Recurrent, data=lambda count: Texts(count, "sum"), optimizer=momentum, collate=padded, batch_size=13
    ),
    "stream": case(net=plain, data=lambda count: Stream(), optimizer=momentum, batch_size=7, valid=False),
    "lbfgs": case(net=plain, data=lambda count: Stream(), optimizer=lbfgs, batch_size=8, valid=False, steps=4),
    "frozen": case(net=dropout, data=Pictures, optimizer=frozen_base, on_nan="skip"),
    "workers": case(net=dropout, data=Pictures, optimizer=adam, num_workers=2),
    "named": case(
        net=dropout, data=Named, optimizer=adam, batch_size=10, accumulate_steps=2, trainer=NamedLosses, callback=Logs
    ),
    "sampler": case(net=dropout, data=Pictures, optimizer=adam, sampler=Halves),
    "norms": case(net=norms, data=Pictures, optimizer=adam),
    "tiny": case(net=dropout, data=Pictures, optimizer=adam, batch_size=3, count=11),
    # Wide enough that a second thread would take part.
    "wide": case(net=wide, data=Pictures, optimizer=adam, batch_size=64, count=64, steps=1, valid=False),
}
# Whose last batch has 0 to 8 samples more than whole ones.
REMAINDERS = [
    case(net=dropout, data=Pictures, optimizer=momentum, batch_size=9, count=18 + more, steps=7) for more in range(9)
]
NETS.update({f"remainder-{more}": case for more, case in enumerate(REMAINDERS)})


class Doom(Callback):
    """Does to the process of `rank` what `how` says, at `where` of step `step`; every start may do it once."""

    only_watches = True

    def __init__(self, rank, step, how, where):
        self._here = rank in (World.current().rank, -1)
        self._step, self._how, self._where = step, how, where

    def on_step_begin(self, trainer):
        self._at("step", trainer.step)

    def on_step_end(self, trainer):
        self._at("boundary", trainer.step)

    def on_evaluate_step(self, trainer):
        self._at("evaluate", trainer.step)

    def on_save(self, trainer, prefix):
        self._at("save", trainer.step)

    def watch_exchange(self, trainer):
        """Have it come between a process's own shares and the sum over all processes."""
        total = exchange.Exchange.sum
        exchange.Exchange.sum = lambda own, flat: (self._at("exchange", trainer.step), total(own, flat))[1]
        given = exchange.Exchange.hand_out
        exchange.Exchange.hand_out = lambda own, tensors: (self._at("hand-out", trainer.step), given(own, tensors))[1]

    def _at(self, where, step):
        # A save in the background may land some steps later.
        is_there = step >= self._step if where == "save" else step == self._step
        if self._here and where == self._where and is_there:
            self._here = False
            if self._how == "late":
                time.sleep(35)  # Longer than gloo waits.
                return
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM}[self._how])


def break_something(what):
    """The negative controls: each is a way not to be elastic."""
    if what == "tree":  # one after the other
        exchange.Tree.add = lambda tree, part: tree._waiting.append(
            (0, [a + b for a, b in zip(tree._waiting.pop()[1], part)] if tree._waiting else part)
        )
    elif what == "all-reduce":  # over all processes at once, in an order of its own
        exchange.Pairs._sum = lambda own, flat: (paddle.distributed.all_reduce(flat), flat)[1]
    elif what == "stale weights":  # the trainers go on with those that they began with
        given = exchange.Exchange.hand_out
        exchange.Exchange.hand_out = lambda own, tensors: given(own, tensors[-1:])
    elif what == "threads":
        parts.pin_math_threads = lambda: None
    elif what == "generator":
        rank = World.current().rank
        elastic_step.derive_seed = lambda *key: derive_seed(*key[:2], rank)
    elif what == "buffers":  # each share goes on from what the one before has made of them
        from paddle_resume.parallel.shared_buffers import SharedBuffers

        SharedBuffers.begin_share = lambda own: None


def train(name, options):
    case = NETS[name]
    os.makedirs(name, exist_ok=True)
    os.chdir(name)
    try:
        _train(case, options)
    except SystemExit as stop:
        if stop.code != 143:
            raise
        print(f"stopped {name}")
    finally:
        os.chdir("..")


def _train(case, options):
    paddle_resume.seed_everything(7)
    with paddle.utils.unique_name.guard():
        model = case["net"]()
    doom = Doom(int(options.doom[0]), int(options.doom[1]), *options.doom[2:]) if options.doom else None
    trainer = case.get("trainer", Trainer)(
        model,
        case["optimizer"](model),
        loss=case.get("loss", nn.CrossEntropyLoss)(),
        metrics=case.get("metrics", lambda: [Accuracy(), paddle.metric.Accuracy(topk=(1,), name="paddle_acc")])(),
        name="net",
        logger=[VisualDLLogger("log", "net"), JsonlLogger("log")],
        callbacks=[*([doom] if doom else []), *([case["callback"]()] if "callback" in case else [])],
        seed=7,
        schedule=SaveSchedule(every_steps=options.every_steps, keep=99, background=options.background),
        monitoring=Monitoring(
            log_every=2,
            ema=WeightAverage(0.9) if case.get("ema") else None,
            best=Best("valid/acc", patience=9) if case.get("best") else None,
        ),
        step=StepOptions(accumulate_steps=case.get("accumulate_steps", 1), on_nan=case.get("on_nan", "stop")),
        processes=Processes(elastic=None if options.ordinary else options.shares, exchange=options.exchange),
        model_path="net.pdparams",
    )
    if doom:
        doom.watch_exchange(trainer)
    count = options.count or case.get("count", 45)
    data = case["data"](count)
    if "collate" in case:
        data = paddle.io.DataLoader(
            data, batch_size=options.batch_size or case["batch_size"], shuffle=True, collate_fn=case["collate"]
        )
    if "sampler" in case:
        data = paddle.io.DataLoader(data, batch_sampler=case["sampler"](count))
    valid = case["data"](20) if case.get("valid", True) else None
    if valid is not None and "collate" in case:
        valid = paddle.io.DataLoader(valid, batch_size=5, collate_fn=case["collate"])
    trainer.train(
        data,
        valid,
        epochs=9,
        max_steps=case.get("steps", options.steps),
        **({} if "sampler" in case else {"global_batch_size": options.batch_size or case.get("batch_size", 16)}),
        num_workers=case.get("num_workers", 0),
    )


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--shares", type=int, default=4)
    parser.add_argument("--exchange", default="pairs")
    parser.add_argument("--doom", nargs=4, metavar=("RANK", "STEP", "HOW", "WHERE"))
    parser.add_argument("--break", dest="broken", default="")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--every-steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--count", type=int)
    parser.add_argument("--background", action="store_true")
    parser.add_argument("--patient", action="store_true", help="taken for collectives that wait for who comes late")
    parser.add_argument("--ordinary", action="store_true", help="not elastic at all")
    options = parser.parse_args(arguments)
    World.current().set_timeout(60)
    if options.patient:  # as over NCCL
        World.collectives_wait = True
    break_something(options.broken)
    for name in options.nets:
        train(name, options)


if __name__ == "__main__":
    try:
        main()
    except PaddleResumeError as error:
        print(f"error: {error}")
        sys.exit(error.exit_code)
