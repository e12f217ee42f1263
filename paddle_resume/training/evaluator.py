"""Evaluates and predicts with a run's model, and leaves no trace in the training that goes on afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Callable, Optional

import numpy as np
import paddle

from paddle_resume.data.batch import Batch
from paddle_resume.data.feed import Feed
from paddle_resume.errors import PaddleResumeError
from paddle_resume.metrics import RunningMetrics
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.world import World
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.ema import WeightAverage
from paddle_resume.training.failed_step import bad_sample, step_error
from paddle_resume.training.interrupt import SignalWatch
from paddle_resume.training.named_losses import as_tensor, loss_and_output, total_loss
from paddle_resume.training.precision import Precision, readable_output
from paddle_resume.training.undisturbed import training_undisturbed

EvaluateStep = Callable[[Batch], tuple[paddle.Tensor, Any]]
Call = Callable[..., None]


class Evaluator:
    """Passes over data without training.

    Args:
        model: what is evaluated, with the average `ema` in place of its weights if that is wanted.
        evaluate_step: gives (mean loss, output) of a batch.
        metrics: the run's; each evaluation gets fresh ones.
        world: all processes of the run, which agree at each batch whether to stop.
        mesh: on which the model is split, if it is.
        feed_options: what a Feed over given data gets, such as the seed.
        call: calls a hook of the callbacks by its name.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        evaluate_step: EvaluateStep,
        metrics: RunningMetrics,
        *,
        world: World,
        mesh: Optional[DeviceMesh],
        precision: Precision,
        ema: Optional[WeightAverage],
        signals: SignalWatch,
        feed_options: Mapping[str, Any],
        call: Call,
    ) -> None:
        self._model = model
        self._evaluate_step = evaluate_step
        self._metrics = metrics
        self._world = world
        self._mesh = mesh
        self._precision = precision
        self._ema = ema
        self._signals = signals
        self._feed_options = feed_options
        self._call = call
        self.heart = Heartbeat(None)
        self.running: Optional[RunningMetrics] = None
        """Those of the evaluation under way; None between two."""
        self.pictures: dict[str, np.ndarray] = {}
        """What the metrics of the last evaluation drew, uint8 [H, W, 3], by name."""

    def evaluate(self, data: Any, split: str, step: int, **options: Any) -> dict[str, float]:
        """Loss and metrics over all of `data`, for a model that has made `step` steps."""
        feed = Feed.of(data, **{**self._feed_options, "shuffle": False, **options})
        metrics = self._metrics.fresh(split)
        self._call("on_evaluate_begin", split)
        with self._evaluation_mode(), self.logging_to(metrics):
            for batch in feed.round_robin():
                metrics.scalars.next_turn()
                agreed = self._world.agree(signum=self._signals.signum)
                if batch is None:
                    metrics.add_nothing()
                else:
                    whole = Batch.of(batch)
                    loss, output = map(self._unsharded, self._evaluated(whole, split, feed))
                    metrics.update(step, loss, output, whole.label, whole.local_size)
                self.heart.beat(step, "evaluate")
                self._signals.check(self._world, agreed.signum)
                self._call("on_evaluate_step")
        metrics.gather()
        results, self.pictures = metrics.results(), metrics.pictures()
        self._call("on_evaluate_end", split, results)
        return results

    def predict(self, data: Any, **options: Any) -> np.ndarray:
        """The model's outputs [N, ...] for all of `data`; the last item of each sample is taken for a label."""
        feed = Feed.of(data, **{"seed": self._feed_options["seed"], "shuffle": False, **options})
        with self._evaluation_mode():
            outputs = (Batch.of(batch).through(self._model, True) for batch in feed.from_start())
            return np.concatenate([readable_output(output).numpy() for output in outputs])

    @contextmanager
    def logging_to(self, metrics: RunningMetrics) -> Iterator[None]:
        """Inside, what the trainer logs belongs to these metrics."""
        before, self.running = self.running, metrics
        try:
            yield
        finally:
            self.running = before

    def _evaluated(self, batch: Batch, split: str, feed: Feed) -> tuple[Any, Any]:
        try:
            return self._loss_and_output(batch)
        except PaddleResumeError:
            raise
        except Exception as error:
            where, forward = f"In the evaluation on {split}", self._loss_and_output
            named = None if self._mesh else bad_sample(error, [batch], forward, self._model, where, feed.is_stream)
            what = f"the model {type(self._model).__name__} with its loss"
            told = named or step_error(error, [batch], where, what)
            if told is None:
                raise
            raise told from error

    def _loss_and_output(self, batch: Batch) -> tuple[Any, Any]:
        assert self.running is not None
        loss, output = loss_and_output(self._evaluate_step(self._replicated(batch)), "Trainer.evaluate_step or Trainer")
        return as_tensor(total_loss(loss, self.running.log, "evaluate_step")), output

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        average = self._ema.in_place() if self._ema is not None and self._ema.evaluate else nullcontext()
        with training_undisturbed(self._model), average, self._precision.autocast():
            yield

    def _replicated(self, batch: Batch) -> Batch:
        return batch if self._mesh is None else batch.mapped(self._mesh.replicate)

    def _unsharded(self, result: Any) -> Any:
        return result if self._mesh is None else self._mesh.unshard(result)
