"""Trains a few steps on data of each awkward length, with as many processes as there are, and prints what was learnt.

Lengths and batch sizes of which the last batch, or every batch, has fewer samples than there are processes.
"""

import sys

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Monitoring, SaveSchedule, StepOptions, Trainer
from paddle_resume.errors import PaddleResumeError
from paddle_resume.metrics import Accuracy
from paddle_resume.parallel.world import World

# (samples, batch size, batches a step): every remainder of 4, then batches smaller than the number of processes.
CASES = [(8, 4, 1), (9, 4, 1), (10, 4, 1), (11, 4, 1), (3, 1, 1), (5, 2, 1), (7, 3, 1), (9, 4, 3), (5, 1, 2)]


class Points(paddle.io.Dataset):
    """Points of three numbers, labelled by whether their sum is large."""

    def __init__(self, count):
        self.x = np.random.RandomState(5).rand(count, 3).astype("float32")
        self.y = (self.x.sum(axis=1, keepdims=True) > 1.5).astype("int64")

    def __getitem__(self, index):
        return self.x[index], self.y[index]

    def __len__(self):
        return len(self.x)


class Own(Trainer):
    """Makes its updates itself."""

    def train_step(self, batch):
        output = self.model(batch[0])
        loss = self.loss(output, batch[1])
        loss.backward()
        self.average_gradients(self.optimizer, batch)
        self.optimizer.step()
        self.optimizer.clear_grad()
        return loss, output


class Words(paddle.nn.Layer):
    """Looks each number of a point up in a table, whose gradients are sparse."""

    def __init__(self):
        super().__init__()
        self.table, self.last = paddle.nn.Embedding(5, 4, sparse=True), paddle.nn.Linear(12, 2)

    def forward(self, x):
        return self.last(self.table((x * 5).astype("int64")).flatten(1))


def learn(kind, samples, batch_size, accumulate, on_nan="stop", sparse=False):
    paddle_resume.seed_everything(3)
    model = paddle.nn.Sequential(paddle.nn.Linear(3, 4), paddle.nn.Tanh(), paddle.nn.Linear(4, 2))
    model = Words() if sparse else model
    model.register_buffer("calls", paddle.zeros([1]))
    name = f"{kind.__name__}_{samples}_{batch_size}_{accumulate}_{on_nan}_{sparse}"
    trainer = kind(
        model,
        paddle.optimizer.Momentum(0.1, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        metrics=[Accuracy(), paddle.metric.Accuracy(name="paddle_acc")],
        name=name,
        schedule=SaveSchedule(every_epochs=None, background=False),
        monitoring=Monitoring(log_every=1),
        step=StepOptions(accumulate_steps=accumulate, on_nan=on_nan),
    )
    results = trainer.train(
        Points(samples), Points(samples), epochs=2, global_batch_size=batch_size, resume="none", overwrite=True
    )
    values = np.concatenate([tensor.numpy().ravel() for tensor in model.state_dict().values()])
    told = " ".join(f"{value:.5f}" for value in [*values, *(results[tag] for tag in sorted(results))])
    print(f"learnt {name} {trainer.step} {told}")


def main():
    World.current().set_timeout(20)
    for case in CASES:
        learn(Trainer, *case)
    learn(Own, 9, 4, 1)
    learn(Trainer, 9, 4, 1, on_nan="skip")
    learn(Trainer, 9, 4, 1, on_nan="skip", sparse=True)
    learn(Trainer, 9, 4, 2, sparse=True)
    learn(Own, 9, 4, 1, sparse=True)


if __name__ == "__main__":
    try:
        main()
    except PaddleResumeError as error:
        print(f"error: {error}")
        sys.exit(error.exit_code)
