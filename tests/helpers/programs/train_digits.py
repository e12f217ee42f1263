"""A small training program for the proofs: the package's small digits, two epochs of eight steps."""

import argparse
import random
import time

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Callback, LookInside, Monitoring, Trainer, models
from paddle_resume.data.digits import load_digits
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import Accuracy
from paddle_resume.training.save_schedule import SaveSchedule


class Augmented(paddle.io.Dataset):
    """Digits with noise from Python's, NumPy's and Paddle's generators, as transforms draw it."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, index):
        image, label = self.arrays[index]
        image = np.roll(image, random.randint(-2, 2), axis=1)
        noise = np.random.rand(*image.shape) + paddle.rand([1]).item()
        return (image + 0.1 * noise).astype("float32"), label


class Stream(paddle.io.IterableDataset):
    """Digits one after the other, in an order that is drawn as they come."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __iter__(self):
        for _ in range(len(self.arrays)):
            yield self.arrays[random.randrange(len(self.arrays))]


class StatefulStream(Stream):
    """The same with a position that can be saved."""

    position = 0
    resumed = False

    def __iter__(self):
        self.position, self.resumed = (self.position, False) if self.resumed else (0, False)
        while self.position < len(self.arrays):
            self.position += 1
            yield self.arrays[random.randrange(len(self.arrays))]

    def state_dict(self):
        return {"position": self.position}

    def set_state_dict(self, state):
        self.position, self.resumed = state["position"], True


class Noise(Callback):
    """Adds a little noise to a weight at each step, from Python's generator and from a count of its own."""

    def __init__(self):
        self.steps = 0

    def on_step_end(self, trainer):
        self.steps += 1
        parameter = trainer.model.parameters()[0]
        parameter.set_value(parameter * (1 + 1e-4 * random.random() * self.steps))

    def state_dict(self):
        return {"steps": self.steps}

    def set_state_dict(self, state):
        self.steps = state["steps"]


class FlushedLogs(Callback):
    """Leaves nothing of the logs in memory, so that a kill leaves records behind the last cursor on disk."""

    def __init__(self, loggers):
        self.loggers = loggers

    def on_log(self, trainer, scalars):
        for logger in self.loggers:
            logger.flush()


class Told(Callback):
    """Writes `from N` into a file where a life begins, and each step that is made, so that it is known after a kill."""

    only_watches = True

    def __init__(self, path):
        self.file = open(path, "a", buffering=1)  # noqa: SIM115 - to be open when it is killed

    def on_train_begin(self, trainer):
        self.file.write(f"from {trainer.step}\n")

    def on_step_end(self, trainer):
        self.file.write(f"{trainer.step}\n")


class Pause(Callback):
    """Gives another process the time to send a signal."""

    def __init__(self, seconds):
        self.seconds = seconds

    def on_step_end(self, trainer):
        time.sleep(self.seconds)

    on_evaluate_step = on_step_end


class Counting(paddle.nn.Layer):
    """An MLP whose output depends on how often it was trained, which it counts in a buffer that is in no state_dict."""

    def __init__(self):
        super().__init__()
        self.inner = models.MLP(hidden=32)
        self.register_buffer("count", paddle.zeros([1]), persistable=False)

    def forward(self, images):
        if self.training:
            self.count.add_(paddle.ones([1]))
        return self.inner(images) * (1 + 0.01 * self.count)


class TwoNets(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.first, self.second = models.MLP(hidden=16), models.MLP(hidden=8)


class TwoNetsTrainer(Trainer):
    """Two networks with an optimizer each, in one overridden step."""

    def train_step(self, batch):
        images, labels = batch
        output = self.model.first(images)
        loss = self.loss(output, labels) + self.loss(self.model.second(images), labels)
        loss.backward()
        for optimizer in self.optimizer.values():
            optimizer.step()
            optimizer.clear_grad()
        return loss, output

    def evaluate_step(self, batch):
        output = self.model.first(batch[0])
        return self.loss(output, batch[1]), output


def digits():
    found = load_digits()
    images = np.pad(np.kron(found.images, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2))) * 255 // 16
    images = images.astype(np.uint8)
    labels = found.labels
    return [ImageArrays(images[part], labels[part], num_classes=10) for part in (slice(0, 250), slice(250, 320))]


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="MLP")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--data", default="arrays")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--every-steps", type=int, default=3)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--look", action="store_true")
    parser.add_argument("--two-nets", action="store_true")
    parser.add_argument("--no-shuffle", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--inline", action="store_true")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--tell-steps")
    parser.add_argument("--resume", default="auto")
    options = parser.parse_args(arguments)

    paddle_resume.seed_everything(7)
    train, valid = digits()
    train = {
        "arrays": lambda d: d,
        "augmented": Augmented,
        "stream": Stream,
        "stateful-stream": StatefulStream,
    }[options.data](train)
    kwargs = {"hidden": 32, "dropout": options.dropout} if options.model == "MLP" else {}
    own = {"Counting": Counting, "TwoNets": TwoNets}
    name = "TwoNets" if options.two_nets else options.model
    model = own[name]() if name in own else getattr(models, name)(**kwargs)
    rate = paddle.optimizer.lr.PolynomialDecay(0.01, decay_steps=16, end_lr=0.001)
    optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters())
    if options.two_nets:
        optimizer = {
            "first": paddle.optimizer.Adam(rate, parameters=model.first.parameters()),
            "second": paddle.optimizer.Momentum(0.01, parameters=model.second.parameters()),
        }
    loggers = [VisualDLLogger("log", "digits"), JsonlLogger("log")]
    callbacks = [FlushedLogs(loggers), Pause(options.pause), *([Noise()] if options.noise else [])]
    callbacks += [Told(options.tell_steps)] if options.tell_steps else []
    callbacks += [LookInside(every=2, images=2)] if options.look else []
    trainer = (TwoNetsTrainer if options.two_nets else Trainer)(
        model,
        optimizer,
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        metrics=[Accuracy()],
        save_dir="checkpoint",
        name="digits",
        logger=loggers,
        callbacks=callbacks,
        seed=7,
        schedule=SaveSchedule(every_steps=options.every_steps, keep=options.keep, background=not options.inline),
        monitoring=Monitoring(log_every=2),
        model_path="digits.pdparams",
    )
    trainer.train(
        train,
        valid,
        valid,
        epochs=options.epochs,
        max_steps=options.max_steps,
        global_batch_size=32,
        shuffle=not options.no_shuffle,
        num_workers=options.workers,
        resume=options.resume,
    )
    return trainer


if __name__ == "__main__":
    main()
