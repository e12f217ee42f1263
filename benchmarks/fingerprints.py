"""What the fingerprints of steps cost: one training in which blocks of steps take them, and as many do not, by turns.

python -m benchmarks.fingerprints [PAIRS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from statistics import median
from typing import Any, Callable

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.models import MNIST
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.made_again import MadeAgain
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.trainer import Trainer

_BATCH_SIZE = 32
_BLOCK = 4
_WARMUP = 3
"""Blocks that do not count."""


class _Turns(Callback):
    """Takes fingerprints in every other block, the first of a pair by turns, and times the blocks."""

    def __init__(self) -> None:
        self.blocks: list[tuple[bool, float]] = []
        self._began = 0.0

    def on_step_begin(self, trainer: Any) -> None:
        if trainer.step % _BLOCK == 0:
            # As after a first save. Which of a pair comes first changes, for a machine may slow down steadily.
            trainer._parts.made_again.kept.wanted = trainer.step // _BLOCK % 4 in (1, 2)
            self._began = time.perf_counter()

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step % _BLOCK == 0:
            self.blocks.append((trainer._parts.made_again.kept.wanted, time.perf_counter() - self._began))


class _Clock:
    """The seconds that each step spends in what it calls of MadeAgain, where fingerprints are taken."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._spent = 0.0
        for name in ("digest", "add_loss", "step_made"):
            setattr(MadeAgain, name, self._timed(getattr(MadeAgain, name), name == "step_made"))

    def _timed(self, method: Callable[..., Any], is_last: bool) -> Callable[..., Any]:
        def timed(made_again: MadeAgain, *args: Any) -> Any:
            began = time.perf_counter()
            result = method(made_again, *args)
            self._spent += time.perf_counter() - began
            if is_last:
                self.steps += [self._spent] if made_again.kept.wanted else []
                self._spent = 0.0
            return result

        return timed


def main() -> None:
    """Print what a step of the MNIST net takes without fingerprints and with them, and what they take by the clock."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    paddle_resume.seed_everything(1)
    turns, clock, model, random = _Turns(), _Clock(), MNIST(), np.random.default_rng(0)
    steps = (2 * pairs + 2 * _WARMUP) * _BLOCK
    count = _BATCH_SIZE * (steps + 1)  # The epoch does not end within what is timed.
    images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            paddle.optimizer.Adam(parameters=model.parameters()),
            loss=paddle.nn.CrossEntropyLoss(),
            logger=None,
            console=False,
            save_dir=folder,
            schedule=SaveSchedule(every_epochs=None, background=False),
            callbacks=[turns],
        ).train(
            ImageArrays(images, random.integers(0, 10, count), num_classes=10),
            max_steps=steps,
            global_batch_size=_BATCH_SIZE,
        )
    timed = turns.blocks[2 * _WARMUP :]
    both = [dict(timed[at : at + 2]) for at in range(0, len(timed), 2)]
    without, taking = (median(pair[takes] for pair in both) / _BLOCK for takes in (False, True))
    share = median(pair[True] / pair[False] - 1 for pair in both)
    each = median(clock.steps)
    print(f"{len(both)} pairs of {_BLOCK} steps: {without * 1e3:.2f} ms a step without, {taking * 1e3:.2f} ms with")
    print(f"median of the pairs: {share:+.2%}; by the clock {each * 1e6:.0f} us a step, {each / without:.2%} of it")


if __name__ == "__main__":
    main()
