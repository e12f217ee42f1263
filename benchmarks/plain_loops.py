"""The training loops that users of Paddle write today; run as a script, in an environment that it leaves alone.

    python plain_loops.py (plain|fit) WARMUP STEPS DATA_FOLDER RESULT_FILE

Not run with `-m`: that would import `benchmarks` first, and with it the CPU set-up that these loops must not inherit.
"""

from __future__ import annotations

import json
import sys
import zlib  # noqa: F401 - loaded after it, Python's zlib is bound to Paddle 2.6.2's own, and reading .gz crashes
from collections.abc import Iterable
from pathlib import Path

import paddle
from paddle.vision.datasets import MNIST as MnistFiles

# After Paddle: by then the package leaves the environment alone.
from benchmarks.stopwatch import Stopwatch
from paddle_resume.models import MNIST

BATCH_SIZE = 32


def training_files(folder: Path) -> MnistFiles:
    """Paddle's own dataset over the files that the trainer reads."""
    return MnistFiles(
        image_path=str(folder / "train-images-idx3-ubyte.gz"),
        label_path=str(folder / "train-labels-idx1-ubyte.gz"),
        mode="train",
        transform=paddle.vision.transforms.ToTensor(),
    )


def plain(dataset: MnistFiles, watch: Stopwatch) -> None:
    """The loop of Paddle's tutorials over its own loader."""
    plain_loop(MNIST(), paddle.io.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True), watch)


def plain_loop(
    model: paddle.nn.Layer, batches: Iterable[tuple[paddle.Tensor, paddle.Tensor]], watch: Stopwatch
) -> None:
    """The loop of Paddle's tutorials."""
    model.train()
    scheduler = paddle.optimizer.lr.PolynomialDecay(0.01, decay_steps=watch.total, end_lr=0.001)
    optimizer = paddle.optimizer.Adam(learning_rate=scheduler, parameters=model.parameters())
    for batch_id, (images, labels) in enumerate(batches):
        predicts = model(images)
        loss = paddle.nn.functional.cross_entropy(predicts, labels)
        acc = paddle.metric.accuracy(predicts, labels)
        loss.backward()
        if batch_id % 100 == 0:
            print(f"batch_id: {batch_id}, loss is: {loss.numpy()}, acc is: {acc.numpy()}")
        optimizer.step()
        optimizer.clear_grad()
        scheduler.step()
        watch.step_done()
        if watch.seconds is not None:
            return


def model_fit(dataset: MnistFiles, watch: Stopwatch) -> None:
    """`paddle.Model.fit`, which steps the scheduler itself."""
    model = paddle.Model(MNIST())
    scheduler = paddle.optimizer.lr.PolynomialDecay(0.01, decay_steps=watch.total, end_lr=0.001)
    optimizer = paddle.optimizer.Adam(learning_rate=scheduler, parameters=model.parameters())
    model.prepare(optimizer, paddle.nn.CrossEntropyLoss(), paddle.metric.Accuracy())
    model.fit(dataset, batch_size=BATCH_SIZE, verbose=0, num_iters=watch.total, callbacks=[_EachBatch(watch)])


class _EachBatch(paddle.callbacks.Callback):
    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self._watch = watch

    def on_train_batch_end(self, step: int, logs: object = None) -> None:
        self._watch.step_done()


if __name__ == "__main__":
    loop = {"plain": plain, "fit": model_fit}[sys.argv[1]]
    stopwatch = Stopwatch(int(sys.argv[2]), int(sys.argv[3]))
    paddle.set_device("cpu")
    loop(training_files(Path(sys.argv[4])), stopwatch)
    Path(sys.argv[5]).write_text(json.dumps({"seconds": stopwatch.seconds}), encoding="utf-8")
