"""One optimizer update: the batches it is made of, their gradients, and whether it is made at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

import paddle

from paddle_resume.data.batch import Batch
from paddle_resume.errors import StateError
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.parallel.batch_norm import BATCH_NORMS
from paddle_resume.parallel.world import World
from paddle_resume.training.precision import Precision

Forward = Callable[[Batch], tuple[paddle.Tensor, Any]]


@dataclass(frozen=True)
class Passed:
    """A batch, or a piece of one, that went through the model: its mean loss, and its output (None: no metrics)."""

    batch: Batch
    loss: paddle.Tensor
    output: Any


@dataclass(frozen=True)
class Made:
    """An update: what went through the model here, the mean loss over all samples, and whether it was made."""

    passed: list[Passed]
    loss: paddle.Tensor
    samples: int
    """How many samples of all processes it is the mean of."""
    made: bool = True


class Update:
    """Makes the updates of an optimizer, and compares on a resume what they are made of.

    Args:
        forward: gives (mean loss, output) of a batch.
        optimizers: the one to step, as {"": optimizer}; LBFGS through its closure form.
        precision: what is computed in which type, and how the loss is scaled.
        accumulate_steps: how many batches make up an update.
        skip_non_finite: leave an update out when a loss or a gradient is NaN or infinite.
        world: the processes that share each batch; their gradients are averaged once for each update.
        whole: makes a loss or an output that is spread over processes what a single one would have.
    """

    def __init__(
        self,
        forward: Forward,
        optimizers: Mapping[str, paddle.optimizer.Optimizer],
        precision: Precision,
        *,
        accumulate_steps: int = 1,
        skip_non_finite: bool = False,
        world: Optional[World] = None,
        whole: Callable[[Any], Any] = lambda result: result,
    ) -> None:
        self._forward = forward
        self._optimizers = optimizers
        self._precision = precision
        self.accumulate_steps = accumulate_steps
        self._skip_non_finite = skip_non_finite
        self._world = world or World()
        self._whole = whole
        self.most: Optional[int] = None
        """The samples that a process takes through the model at once; None: its whole share of a batch.

        It comes with the checkpoint: where fewer processes go on, each takes its larger share in pieces, so that
        a step needs no more memory than before.
        """

    def count(self, batches: int) -> int:
        """How many updates so many batches of an epoch make; its last one may have fewer of them."""
        return -(-batches // self.accumulate_steps)

    def note(self, model: paddle.nn.Layer) -> str:
        """What a user should know, or an empty string."""
        norms = [name for name, layer in model.named_sublayers() if isinstance(layer, BATCH_NORMS)]
        if self.accumulate_steps == 1 or not norms:
            return ""
        return (
            f"accumulate_steps: {self.accumulate_steps} adds up gradients, but {norms[0]} (of {len(norms)} "
            "batch norms) takes its statistics from each batch alone: this is not the same as one large batch."
        )

    def make(self, batches: Sequence[Batch]) -> Made:
        """Update with the mean gradient over all samples of `batches`, in all processes.

        Each batch counts by its samples, so that a group with fewer of them, or a short last batch, gives the
        gradient of one large batch (of a net without batch statistics).
        """
        optimizer = self._optimizer
        if is_lbfgs(optimizer):
            return self._make_by_closure(optimizer, batches)
        made = self._backward(optimizer, batches)
        wanted = not self._skip_non_finite or _is_finite(optimizer, made.loss)
        stepped = wanted and self._precision.step(optimizer)
        optimizer.clear_grad()
        return replace(made, made=stepped)

    def state_dict(self) -> dict[str, Any]:
        return {"accumulate_steps": self.accumulate_steps, "most": self.most}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.most = state["most"]

    def differences(self, state: dict[str, Any]) -> list[str]:
        then, now = state["accumulate_steps"], self.accumulate_steps
        return [f"accumulate_steps: {then} -> {now}"] if then != now else []

    @property
    def _optimizer(self) -> paddle.optimizer.Optimizer:
        if list(self._optimizers) != [""]:
            raise StateError("With several optimizers, or none, Trainer.train_step has to be overridden.")
        return self._optimizers[""]

    def _backward(self, optimizer: paddle.optimizer.Optimizer, batches: Sequence[Batch]) -> Made:
        total = sum(batch.whole for batch in batches)
        passed = []
        for piece in (piece for batch in batches for piece in batch.cut(self.most or batch.whole)):
            with self._precision.autocast():
                loss, output = self._forward(piece)
            # Averaging over the processes divides by their number.
            share = piece.samples * self._world.size / total
            self._precision.scaled(loss if share == 1 else loss * share).backward()
            passed.append(Passed(piece, self._whole(loss), self._whole(output)))
        self._world.average_gradients(parameters_of(optimizer))
        return Made(passed, mean_loss([(one.loss, one.batch.samples) for one in passed], total, self._world), total)

    def _make_by_closure(self, optimizer: Any, batches: Sequence[Batch]) -> Made:
        first: list[Made] = []

        def closure() -> paddle.Tensor:
            optimizer.clear_grad()
            made = self._backward(optimizer, batches)
            first.append(made)
            return made.loss

        optimizer.step(closure)
        optimizer.clear_grad()
        return first[0]


def mean_loss(losses: Sequence[tuple[paddle.Tensor, int]], total: int, world: World) -> paddle.Tensor:
    """The mean over `total` samples in all processes, given this one's (mean loss, samples)."""
    if len(losses) == 1 and losses[0][1] == total:
        return losses[0][0].detach()
    with paddle.no_grad():
        return world.all_reduce(paddle.add_n([loss.astype("float32") * (samples / total) for loss, samples in losses]))


def parameters_of(optimizer: paddle.optimizer.Optimizer) -> Iterator[paddle.Tensor]:
    """Every parameter that the optimizer updates, through its groups."""
    for entry in optimizer._parameter_list or []:
        yield from entry["params"] if isinstance(entry, dict) else [entry]


def _is_finite(optimizer: paddle.optimizer.Optimizer, loss: paddle.Tensor) -> bool:
    tensors = [loss, *(p.grad for p in parameters_of(optimizer) if p.grad is not None)]
    # One number for all of them: a GPU is waited for once.
    return bool(paddle.isfinite(paddle.add_n([t.astype("float32").sum() for t in tensors])))
