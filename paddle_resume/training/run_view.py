"""What callbacks, the console and `LookInside` see of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Protocol

import paddle

from paddle_resume.checkpoint.lineage import Lineage
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.loggers import Logger
from paddle_resume.parallel.world import World
from paddle_resume.training.run_length import RunLength


class RunView(Protocol):
    """A run under way. The Trainer is one; callbacks that need no more than this work with anything that has it."""

    model: paddle.nn.Layer
    optimizer: Any
    restored: Optional[Restored]
    """What the run went on from; None if it started from the beginning."""

    @property
    def step(self) -> int:
        """Steps (optimizer updates) made so far."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch under way or, between two epochs, the one just finished; counted from 0."""
        ...

    @property
    def steps_in_epoch(self) -> int:
        """Steps made in that epoch."""
        ...

    @property
    def phase(self) -> str:
        """What comes next: `train`, `evaluate`, `finish` or `done`."""
        ...

    @property
    def length(self) -> RunLength:
        """How many steps there are in all and in an epoch, and how many samples in a step."""
        ...

    @property
    def is_between_epochs(self) -> bool:
        """Whether an epoch has just been finished and the next one not begun."""
        ...

    @property
    def world(self) -> World:
        """The processes that train together; `rank` and `size` say which this one is."""
        ...

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        ...

    @property
    def results(self) -> dict[str, float]:
        """The latest values by tag, such as `train/loss` and `valid/acc`."""
        ...

    @property
    def running(self) -> dict[str, float]:
        """The means since the last record of the log, such as `loss`, for a person to look at."""
        ...

    @property
    def lineage(self) -> Lineage:
        """The run's history: starts, resumes, changes, rollbacks."""
        ...

    @property
    def loggers(self) -> Sequence[Logger]:
        """The run's loggers; those of rank 0, other processes have none."""
        ...

    def tell(self, text: str) -> None:
        """Say what a person should know."""
        ...

    def save(self, tag: Optional[str] = None) -> Path:
        """Save a checkpoint now."""
        ...
