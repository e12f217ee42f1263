"""Saves small checkpoints as fast as it can, keeps two and a best one, until it is killed.

Its argument is the folder; it says `ready` once all of them are there.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np

import paddle_resume  # noqa: F401 - it sets up the CPU before Paddle is imported
from paddle_resume.checkpoint.engine import CheckpointEngine


class Tensors:
    """A file of one tensor, other values at each step and not always as many."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"weight": np.full(200_000 + self.step % 3, self.step, np.float32)}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing goes on from here."""


def main(folder: str) -> None:
    parts = {"model": Tensors(".pdparams"), "optimizer": Tensors(".pdopt")}
    saver = CheckpointEngine(folder, "run", background=False)
    for step in itertools.count():
        for part in parts.values():
            part.step = step
        saver.save(step, parts, tag="best" if step % 3 == 2 else None)
        if step == 5:
            print("ready", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
