"""Paddle's tutorial of paddle.Model, LeNet on MNIST: with ExactResume as the one line more, or without it."""

import argparse
import os
from pathlib import Path

from small_mnist import small_mnist

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
from paddle.vision.transforms import Normalize

from paddle_resume.hapi import ExactResume
from paddle_resume.training.save_schedule import SaveSchedule

EPOCHS = 2


class SignalAt(paddle.callbacks.Callback):
    """Sends this process a signal in the middle of a batch, counted over all epochs."""

    derived_attributes = ("left", "signum")

    def __init__(self, batch, signum):
        super().__init__()
        self.left = batch
        self.signum = signum

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, step, logs=None):
        if self.epoch * self.params["steps"] + step == self.left:
            os.kill(os.getpid(), self.signum)


parser = argparse.ArgumentParser()
parser.add_argument("--plain", action="store_true")
parser.add_argument("--signal", type=int, default=0)
parser.add_argument("--at", type=int)
options = parser.parse_args()

paddle_resume.seed_everything(1)
transform = Normalize(mean=[127.5], std=[127.5], data_format="CHW")
train_dataset, test_dataset = (small_mnist(mode, transform=transform) for mode in ("train", "test"))

lenet = paddle.vision.models.LeNet(num_classes=10)
model = paddle.Model(lenet)
model.prepare(
    paddle.optimizer.Adam(parameters=model.parameters()),
    paddle.nn.CrossEntropyLoss(),
    paddle.metric.Accuracy(),
)
callbacks = [paddle.callbacks.VisualDL("log"), SignalAt(options.at, options.signal)]
epochs = EPOCHS
if options.plain:
    # What can be done to continue without it: load the last epoch that was saved, and train those that are left.
    saved = sorted(int(path.stem) for path in Path("output").glob("[0-9].pdopt"))
    if saved:
        model.load(f"output/{saved[-1]}")
        epochs -= saved[-1] + 1
else:
    callbacks += [ExactResume("checkpoint", "lenet", schedule=SaveSchedule(every_steps=3))]
model.fit(
    train_dataset,
    test_dataset,
    epochs=epochs,
    batch_size=32,
    save_dir="output",
    verbose=2,
    callbacks=callbacks,
)
model.save("output/mnist")
