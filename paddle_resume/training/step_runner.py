"""The one road by which every step is made: through the trainer's `train_step`, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Union

from paddle_resume.data.batch import Batch, MicroBatches
from paddle_resume.errors import StateError
from paddle_resume.training.gradient_average import GradientAverage
from paddle_resume.training.named_losses import as_tensor, total_loss
from paddle_resume.training.optimizer_step import mean_loss
from paddle_resume.training.step_result import MicroBatchResult, StepResult

TrainStep = Callable[[Union[Batch, MicroBatches]], Any]


class StepRunner:
    """Makes steps by a trainer's `train_step`; what that returns becomes a StepResult."""

    def __init__(
        self, train_step: TrainStep, gradients: GradientAverage, log: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """`log` takes the further losses of a step that gives several."""
        self._log = log
        self._train_step = train_step
        self._gradients = gradients

    def run(self, batches: Sequence[Batch]) -> StepResult:
        """Make the step of these batches; raises StateError if its gradients were not those of all processes."""
        self._gradients.begin_step()
        result = self._train_step(batches[0] if len(batches) == 1 else MicroBatches(batches))
        if not self._gradients.is_done:
            raise StateError(
                f"{self._train_step.__qualname__} makes its updates itself, and with {self._gradients.world.size} "
                "processes has to call self.average_gradients(optimizer, batch) between backward() and each "
                "optimizer.step(); or override compute_loss instead."
            )
        return result if isinstance(result, StepResult) else self._of_loss_and_output(result, batches[0])

    def _of_loss_and_output(self, result: Any, batch: Batch) -> StepResult:
        loss, output = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        loss = as_tensor(total_loss(loss, self._log, self._train_step.__qualname__))
        mean = mean_loss([(loss, batch.local_size)], batch.global_size, self._gradients.world)
        return StepResult([MicroBatchResult(batch, loss, output)], mean, batch.global_size)
