"""One optimizer update: the batches it is made of, their gradients, and whether it is made at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import paddle

from paddle_resume.errors import StateError
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.precision import Precision

Batch = list
_BATCH_NORMS = (paddle.nn.BatchNorm, paddle.nn.BatchNorm1D, paddle.nn.BatchNorm2D, paddle.nn.BatchNorm3D)
Forward = Callable[[Batch], tuple[paddle.Tensor, Any]]


@dataclass(frozen=True)
class Passed:
    """A batch that went through the model: its mean loss, its output (None if no metrics are wanted), and its size."""

    batch: Batch
    loss: paddle.Tensor
    output: Any

    @property
    def samples(self) -> int:
        return len(self.batch[0])


class Update:
    """Makes the updates of an optimizer, and compares on a resume what they are made of.

    Args:
        forward: gives (mean loss, output) of a batch.
        optimizers: the one to step, as {"": optimizer}; LBFGS through its closure form.
        precision: what is computed in which type, and how the loss is scaled.
        accumulate_steps: how many batches make up an update.
        skip_non_finite: leave an update out when a loss or a gradient is NaN or infinite.
    """

    def __init__(
        self,
        forward: Forward,
        optimizers: Mapping[str, paddle.optimizer.Optimizer],
        precision: Precision,
        *,
        accumulate_steps: int = 1,
        skip_non_finite: bool = False,
    ) -> None:
        self._forward = forward
        self._optimizers = optimizers
        self._precision = precision
        self.accumulate_steps = accumulate_steps
        self._skip_non_finite = skip_non_finite

    def count(self, batches: int) -> int:
        """How many updates so many batches of an epoch make; its last one may have fewer of them."""
        return -(-batches // self.accumulate_steps)

    def note(self, model: paddle.nn.Layer) -> str:
        """What a user should know, or an empty string."""
        norms = [name for name, layer in model.named_sublayers() if isinstance(layer, _BATCH_NORMS)]
        if self.accumulate_steps == 1 or not norms:
            return ""
        return (
            f"accumulate_steps: {self.accumulate_steps} adds up gradients, but {norms[0]} (of {len(norms)} "
            "batch norms) takes its statistics from each batch alone: this is not the same as one large batch."
        )

    def make(self, batches: Sequence[Batch]) -> tuple[list[Passed], bool]:
        """Update with the mean gradient over all samples of `batches`; returns them, and whether it was made.

        Each batch counts by its samples, so that a group with fewer of them, or a short last batch, gives the
        gradient of one large batch (of a net without batch statistics).
        """
        optimizer = self._optimizer
        if is_lbfgs(optimizer):
            return self._make_by_closure(optimizer, batches), True
        passed = list(self._backward(batches))
        made = (not self._skip_non_finite or _is_finite(optimizer, passed)) and self._precision.step(optimizer)
        optimizer.clear_grad()
        return passed, made

    def state_dict(self) -> dict[str, Any]:
        return {"accumulate_steps": self.accumulate_steps}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: what differs was reported by `differences`."""

    def differences(self, state: dict[str, Any]) -> list[str]:
        then, now = state["accumulate_steps"], self.accumulate_steps
        return [f"accumulate_steps: {then} -> {now}"] if then != now else []

    @property
    def _optimizer(self) -> paddle.optimizer.Optimizer:
        if list(self._optimizers) != [""]:
            raise StateError("With several optimizers, or none, Trainer.train_step has to be overridden.")
        return self._optimizers[""]

    def _backward(self, batches: Sequence[Batch]) -> Iterator[Passed]:
        total = sum(len(batch[0]) for batch in batches)
        for batch in batches:
            with self._precision.autocast():
                loss, output = self._forward(batch)
            share = len(batch[0]) / total
            self._precision.scaled(loss if share == 1 else loss * share).backward()
            yield Passed(batch, loss, output)

    def _make_by_closure(self, optimizer: Any, batches: Sequence[Batch]) -> list[Passed]:
        first: list[Passed] = []

        def closure() -> paddle.Tensor:
            optimizer.clear_grad()
            passed = list(self._backward(batches))
            first.extend(passed if not first else [])
            total = sum(one.samples for one in passed)
            return paddle.add_n([one.loss * (one.samples / total) for one in passed])

        optimizer.step(closure)
        optimizer.clear_grad()
        return first


def parameters_of(optimizer: paddle.optimizer.Optimizer) -> Iterator[paddle.Tensor]:
    """Every parameter that the optimizer updates, through its groups."""
    for entry in optimizer._parameter_list or []:
        yield from entry["params"] if isinstance(entry, dict) else [entry]


def _is_finite(optimizer: paddle.optimizer.Optimizer, passed: Sequence[Passed]) -> bool:
    tensors = [one.loss for one in passed]
    tensors += [p.grad for p in parameters_of(optimizer) if p.grad is not None]
    # One number for all of them: a GPU is waited for once.
    return bool(paddle.isfinite(paddle.add_n([t.astype("float32").sum() for t in tensors])))
