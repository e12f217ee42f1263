"""What came of a step, and of each micro-batch in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import paddle

from paddle_resume.data.batch import Batch


@dataclass(frozen=True)
class MicroBatchResult:
    """A micro-batch that went through the model: its mean loss, and its output (None: no metrics)."""

    batch: Batch
    loss: paddle.Tensor
    output: Any


@dataclass(frozen=True)
class StepResult:
    """A step: what went through the model here, the mean loss over all samples, and whether it was applied.

    It unpacks as (loss, output).
    """

    micro_batches: list[MicroBatchResult]
    loss: paddle.Tensor
    samples: int
    """How many samples of all processes it is the mean of."""
    applied: bool = True
    groups: Optional[Sequence[Sequence[MicroBatchResult]]] = None
    """Of an elastic step, the micro-batches of each batch by share."""

    @property
    def by_batch(self) -> Sequence[Sequence[MicroBatchResult]]:
        """The micro-batches whose outputs a metric takes in as one."""
        return [[one] for one in self.micro_batches] if self.groups is None else self.groups

    @property
    def output(self) -> Any:
        """The outputs of all micro-batches in one."""
        outputs = [one.output for one in self.micro_batches]
        return outputs[0] if len(outputs) == 1 else paddle.concat(outputs)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.loss, self.output))
