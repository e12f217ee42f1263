"""Evaluates weights with however many processes there are, and prints every bit of what comes of it."""

import sys

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)

import paddle
from train_digits import digits
from train_ranks import net

from paddle_resume import Trainer
from paddle_resume.metrics import Accuracy
from paddle_resume.metrics.auc import Auc
from paddle_resume.parallel.world import World

if __name__ == "__main__":
    model = net("dropout")
    model.set_state_dict(paddle.load(sys.argv[1]))
    metrics = [Accuracy(), Auc(), paddle.metric.Accuracy(topk=(3,), name="paddle_top3")]
    trainer = Trainer(model, {}, loss=paddle.nn.CrossEntropyLoss(), metrics=metrics)
    data = paddle.io.Subset(digits()[0], list(range(250)))
    results = trainer.evaluate(data, batch_size=16)
    print("results", f"samples={len(data)}", {name: value.hex() for name, value in results.items()}, flush=True)
    World.current().agree()
