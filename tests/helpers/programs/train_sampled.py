"""A training program for the proofs of what gives the order: samplers, Paddle's and others, and streams."""

import argparse
import random

import numpy as np
from train_digits import Augmented, FlushedLogs, digits

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
from paddle.io import BatchSampler, DataLoader, DistributedBatchSampler, RandomSampler, SubsetRandomSampler

from paddle_resume import Monitoring, Trainer, models
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import Accuracy
from paddle_resume.training.save_schedule import SaveSchedule

BATCH = 16


class Stateful(paddle.io.Sampler):
    """Its order follows from a generator of its own, which goes on from pass to pass."""

    def __init__(self, data):
        super().__init__(data)
        self.generator = random.Random(5)

    def __iter__(self):
        order = list(range(len(self.data_source)))
        self.generator.shuffle(order)
        return iter(order)

    def __len__(self):
        return len(self.data_source)


class Stream(paddle.io.IterableDataset):
    """Its parts by worker, each of another length; the images are changed by what transforms draw."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        info = paddle.io.get_worker_info()
        first, every = (info.id, info.num_workers) if info else (0, 1)
        for index in range(first, len(self.data) - 40 * first, every):
            yield self.data[index]


class StatefulStream(Stream):
    """The same with a position, so that a resume draws nothing again."""

    def __init__(self, data):
        super().__init__(data)
        self.position = 0

    def __iter__(self):
        info = paddle.io.get_worker_info()
        first, every = (info.id, info.num_workers) if info else (0, 1)
        while (index := first + self.position * every) < len(self.data) - 40 * first:
            self.position += 1
            yield self.data[index]
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def set_state_dict(self, state):
        self.position = state["position"]


def loader(name, data, workers):
    """The data as a user hands them over: by a loader with this sampler, or as a stream."""
    if name in ("stream", "stateful stream"):
        kind = Stream if name == "stream" else StatefulStream
        return DataLoader(kind(data), batch_size=BATCH, num_workers=workers)
    count = len(data)
    samplers = {
        "weighted": lambda: paddle.io.WeightedRandomSampler(np.linspace(0.1, 2.0, count), count, replacement=True),
        "random": lambda: RandomSampler(data, replacement=True, num_samples=count - 10),
        "subset": lambda: SubsetRandomSampler(list(range(0, count, 2))),
        "stateful": lambda: Stateful(data),
    }
    if name == "distributed":
        batches = DistributedBatchSampler(data, batch_size=BATCH, num_replicas=1, rank=0, shuffle=True)
    else:
        batches = BatchSampler(sampler=samplers[name](), batch_size=BATCH)
    return DataLoader(data, batch_sampler=batches, num_workers=workers)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--order", default="weighted")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args(arguments)

    paddle_resume.seed_everything(7)
    train, valid = digits()
    model = models.MLP(hidden=16, dropout=0.2)
    loggers = [VisualDLLogger("log", "digits"), JsonlLogger("log")]
    trainer = Trainer(
        model,
        paddle.optimizer.Adam(0.01, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        metrics=[Accuracy()],
        save_dir="checkpoint",
        name="digits",
        logger=loggers,
        callbacks=[FlushedLogs(loggers)],
        seed=7,
        schedule=SaveSchedule(every_steps=3),
        monitoring=Monitoring(log_every=2),
        model_path="digits.pdparams",
    )
    trainer.train(loader(options.order, Augmented(train), options.workers), valid, epochs=2)
    return trainer


if __name__ == "__main__":
    main()
