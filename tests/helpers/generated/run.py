"""Puts a generated run together from its description, and trains it."""

from __future__ import annotations

import collections
import os
from typing import Any

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from generated.callbacks import CALLBACKS
from generated.data import Points, loader
from generated.losses import LOSSES
from generated.models import Net
from generated.optimizers import CLIPS, OPTIMIZERS, SCHEDULERS
from paddle_resume import Best, Monitoring, SaveSchedule, StepOptions, Trainer, WeightAverage
from paddle_resume.loggers import JsonlLogger, VisualDLLogger

CALLS = 0


class Recent(paddle.metric.Metric):
    """A metric of a user's over the last batches, in a deque."""

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


class Counting(Trainer):
    """Keeps a count and a list of its own, and one in the module."""

    def compute_loss(self, batch):
        global CALLS
        CALLS += 1
        self.calls = getattr(self, "calls", 0) + 1
        loss, output = super().compute_loss(batch)
        return loss * (1 + 0.01 * (self.calls % 7) + 0.01 * (CALLS % 5)), output


class Stepping(Trainer):
    """Makes its updates itself, by a loss scale of its own."""

    scale = 8.0

    def train_step(self, batch):
        loss, output = self.compute_loss(batch)
        (loss * self.scale).backward()
        with paddle.no_grad():
            for parameter in self.model.parameters():
                if parameter.grad is not None and not parameter.grad.is_selected_rows():
                    parameter.grad.scale_(1 / self.scale)
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.scale = self.scale * 2 if self.scale < 64 else 8.0
        return loss, output


class Leaving(Trainer):
    """Makes an update in every second step, with the gradients of both: some are left at a save."""

    def train_step(self, batch):
        loss, output = self.compute_loss(batch)
        loss.backward()
        if self.step % 2:
            self.optimizer.step()
            self.optimizer.clear_grad()
        return loss, output


class Spiking(Trainer):
    """Its loss is NaN in one step."""

    def compute_loss(self, batch):
        loss, output = super().compute_loss(batch)
        self.calls = getattr(self, "calls", 0) + self.model.training
        return (loss * float("nan") if self.calls == 7 and self.model.training else loss), output


METRICS = {"none": list, "accuracy": lambda: [paddle.metric.Accuracy()], "own": lambda: [Recent()]}
TRAINERS = {"stock": Trainer, "counting": Counting, "stepping": Stepping, "leaving": Leaving, "spiking": Spiking}
LOGGERS = {"jsonl": lambda: JsonlLogger("log"), "visualdl": lambda: VisualDLLogger("log", "run")}


def train(description: dict[str, Any], max_steps: int) -> None:
    """Train what is described until so many steps are made, from wherever it stands, in the working directory."""
    os.environ.pop("PADDLE_RESUME_MEMORY", None)  # It would go before what is described.
    paddle_resume.seed_everything(3)
    data = loader(description)
    model = Net(description["parts"])
    parameters = model.parameters()
    rate = SCHEDULERS[description["scheduler"]]()
    optimizer = OPTIMIZERS[description["optimizer"]](rate, parameters, CLIPS[description["clip"]]())
    evaluates, best = description["evaluate"], description["best"]
    monitoring = Monitoring(
        log_every=description["log_every"],
        evaluate_every=evaluates if isinstance(evaluates, int) else None,
        ema=WeightAverage(0.8, evaluate=description["ema"] == "evaluated") if description["ema"] != "none" else None,
        best=Best("valid/loss", patience=description["patience"], final=best) if best != "none" else None,
    )
    trainer = TRAINERS[description["trainer"]](
        model,
        optimizer,
        loss=LOSSES[description["loss"]](),
        metrics=METRICS[description["metric"]](),
        callbacks=[CALLBACKS[name](model, data.dataset) for name in description["callbacks"]],
        logger=LOGGERS[description["logger"]](),
        save_dir="checkpoint",
        model_path="model.pdparams",
        seed=7,
        schedule=SaveSchedule(
            every_steps=description["save_every"],
            every_epochs=description["epoch_every"],
            keep=description["keep"],
            background=description["background"],
            memory=description["memory"],
        ),
        step=StepOptions(
            accumulate_steps=description["accumulate"],
            lr_interval=description["lr_interval"],
            on_nan=description["on_nan"],
        ),
        monitoring=monitoring,
    )
    valid = None if evaluates == "none" else Points(20)
    trainer.train(data, valid, epochs=9, max_steps=max_steps)
