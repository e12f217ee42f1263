"""One optimizer update: the micro-batches it is made of, their gradients, and whether it is applied at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, Optional

import paddle

from paddle_resume.data.batch import Batch
from paddle_resume.differences import ConfigScope, Difference, compare_fields
from paddle_resume.errors import StateError
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.owners.optimizer import parameters_of
from paddle_resume.parallel.batch_norm import BATCH_NORMS
from paddle_resume.parallel.sparse_gradients import values_of
from paddle_resume.parallel.world import World
from paddle_resume.training.elastic import ElasticGradients
from paddle_resume.training.gradient_average import GradientAverage
from paddle_resume.training.precision import Precision
from paddle_resume.training.step_result import MicroBatchResult, StepResult

Forward = Callable[[Batch], tuple[paddle.Tensor, Any]]


class OptimizerStep:
    """Makes the updates of an optimizer, and compares on a resume what they are made of.

    Args:
        forward: gives (mean loss, output) of a batch.
        optimizers: the one to step, as {"": optimizer}; LBFGS through its closure form.
        precision: what is computed in which type, and how the loss is scaled.
        gradients: averages them over the processes that share each batch, once for each update.
        accumulate_steps: how many batches make up an update.
        skip_non_finite: leave an update out when a loss or a gradient is NaN or infinite.
        elastic: makes the gradients of an elastic run in place of all this.
        unshard: makes a loss or an output that lies in several processes what a single one would have.
    """

    def __init__(
        self,
        forward: Forward,
        optimizers: Mapping[str, paddle.optimizer.Optimizer],
        precision: Precision,
        gradients: GradientAverage,
        *,
        accumulate_steps: int = 1,
        skip_non_finite: bool = False,
        elastic: Optional[ElasticGradients] = None,
        unshard: Callable[[Any], Any] = lambda result: result,
    ) -> None:
        self._forward = forward
        self._optimizers = optimizers
        self._precision = precision
        self._gradients = gradients
        self._world = gradients.world
        self.accumulate_steps = accumulate_steps
        self._skip_non_finite = skip_non_finite
        self._elastic = elastic
        self._unshard = unshard
        self.micro_batch_size: Optional[int] = None
        """The samples that a process takes through the model at once; None: its whole share of a batch.

        It comes with the checkpoint: where fewer processes go on, each takes its larger share in pieces, so that
        a step needs no more memory than before.
        """

    def note(self, model: paddle.nn.Layer) -> str:
        """What a user should know, or an empty string."""
        norms = [name for name, layer in model.named_sublayers() if isinstance(layer, BATCH_NORMS)]
        if self.accumulate_steps == 1 or not norms:
            return ""
        return (
            f"accumulate_steps: {self.accumulate_steps} adds up gradients, but {norms[0]} (of {len(norms)} "
            "batch norms) takes its statistics from each batch alone: this is not the same as one large batch."
        )

    def make(self, batches: Sequence[Batch]) -> StepResult:
        """Update with the mean gradient over all samples of `batches`, in all processes.

        Each batch counts by its samples, so that a group with fewer of them, or a short last batch, gives the
        gradient of one large batch (of a net without batch statistics).
        """
        optimizer = self._optimizer
        if self._elastic is not None and not self._elastic.updates_here:
            return self._elastic.follow(optimizer, batches)
        result = (self._by_closure if is_lbfgs(optimizer) else self._by_gradient)(optimizer, batches)
        optimizer.clear_grad()
        if self._elastic is not None:
            self._elastic.hand_out(result.applied)
        return result

    def state_dict(self) -> dict[str, Any]:
        elastic = {} if self._elastic is None else {"elastic": self._elastic.shares.count}
        return {"accumulate_steps": self.accumulate_steps, "micro_batch_size": self.micro_batch_size, **elastic}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        # The first versions called it `most`.
        self.micro_batch_size = state["micro_batch_size"] if "micro_batch_size" in state else state["most"]

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        scope, keys = ConfigScope(("trainer.accumulate_steps",)), ("accumulate_steps",)
        found = compare_fields("{}", state, self.state_dict(), keys=keys, scope=scope, argument="StepOptions({}=)")
        scope, keys = ConfigScope(("parallel.elastic",)), ("elastic",)
        return [
            *found,
            *compare_fields("{}", state, self.state_dict(), keys=keys, scope=scope, argument="Processes({}=)"),
        ]

    @property
    def _optimizer(self) -> paddle.optimizer.Optimizer:
        if list(self._optimizers) != [""]:
            raise StateError("With several optimizers, or none, Trainer.train_step has to be overridden.")
        return self._optimizers[""]

    def _backward(self, optimizer: paddle.optimizer.Optimizer, batches: Sequence[Batch]) -> StepResult:
        if self._elastic is not None:
            return self._elastic.backward(optimizer, batches)
        total = sum(batch.global_size for batch in batches)
        results = []
        for batch in batches:
            for piece in batch.micro_batches(self.micro_batch_size or batch.global_size):
                with self._precision.autocast():
                    loss, output = self._forward(piece)
                # Averaging over the processes divides by their number.
                share = piece.local_size * self._world.size / total
                self._precision.scaled(loss if share == 1 else loss * share).backward()
                results.append(MicroBatchResult(piece, self._unshard(loss), self._unshard(output)))
        self._gradients.average(parameters_of(optimizer))
        losses = [(one.loss, one.batch.local_size) for one in results]
        return StepResult(results, mean_loss(losses, total, self._world), total)

    def _by_gradient(self, optimizer: paddle.optimizer.Optimizer, batches: Sequence[Batch]) -> StepResult:
        result = self._backward(optimizer, batches)
        wanted = not self._skip_non_finite or _is_finite(optimizer, result.loss)
        return replace(result, applied=wanted and self._precision.step(optimizer))

    def _by_closure(self, optimizer: Any, batches: Sequence[Batch]) -> StepResult:
        results: list[StepResult] = []

        def closure() -> paddle.Tensor:
            optimizer.clear_grad()
            results.append(self._backward(optimizer, batches))
            return results[-1].loss

        optimizer.step(closure)
        return results[0]


def mean_loss(losses: Sequence[tuple[paddle.Tensor, int]], total: int, world: World) -> paddle.Tensor:
    """The mean over `total` samples in all processes, given this one's (mean loss, samples)."""
    # Not where this process merely has all samples of a short batch: the others wait for it in the all-reduce.
    if len(losses) == 1 and world.is_single:
        return losses[0][0].detach()
    with paddle.no_grad():
        return world.all_reduce(paddle.add_n([loss.astype("float32") * (samples / total) for loss, samples in losses]))


def _is_finite(optimizer: paddle.optimizer.Optimizer, loss: paddle.Tensor) -> bool:
    tensors = [loss, *(values_of(p.grad) for p in parameters_of(optimizer) if p.grad is not None)]
    # One number for all of them: a GPU is waited for once.
    return bool(paddle.isfinite(paddle.add_n([t.astype("float32").sum() for t in tensors])))
