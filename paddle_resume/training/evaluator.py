"""Evaluates and predicts with a run's model, and leaves no trace in the training that goes on afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Callable, Optional

import numpy as np
import paddle

from paddle_resume.data.batch import Batch
from paddle_resume.data.feed import Feed
from paddle_resume.metrics import RunningMetrics
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.world import World
from paddle_resume.rng import preserved
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.ema import WeightAverage
from paddle_resume.training.interrupt import SignalWatch
from paddle_resume.training.precision import Precision, readable_output

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
        self.pictures: dict[str, np.ndarray] = {}
        """What the metrics of the last evaluation drew, uint8 [H, W, 3], by name."""

    def evaluate(self, data: Any, split: str, step: int, **options: Any) -> dict[str, float]:
        """Loss and metrics over all of `data`, for a model that has made `step` steps."""
        feed = Feed.of(data, **{**self._feed_options, "shuffle": False, **options})
        metrics = self._metrics.fresh(split)
        self._call("on_evaluate_begin", split)
        with self._evaluation_mode():
            for batch in feed.round_robin():
                agreed = self._world.agree(signum=self._signals.signum)
                if batch is None:
                    metrics.add_nothing()
                else:
                    loss, output = map(self._unsharded, self._evaluate_step(self._replicated(batch)))
                    metrics.update(step, loss, output, batch[-1], len(batch[0]))
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
            outputs = (self._model(*(batch[:-1] or batch)) for batch in feed.from_start())
            return np.concatenate([readable_output(output).numpy() for output in outputs])

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        average = self._ema.in_place() if self._ema is not None and self._ema.evaluate else nullcontext()
        with training_undisturbed(self._model), average, self._precision.autocast():
            yield

    def _replicated(self, batch: list[Any]) -> Batch:
        return Batch.of(batch if self._mesh is None else [self._mesh.replicate(entry) for entry in batch])

    def _unsharded(self, result: Any) -> Any:
        return result if self._mesh is None else self._mesh.unshard(result)


@contextmanager
def training_undisturbed(model: paddle.nn.Layer) -> Iterator[None]:
    """Evaluation mode and no gradients inside; at the end the mode and every generator as they were."""
    # One by one: a user may have put some of them into evaluation mode for good.
    training = [layer for layer in model.sublayers(include_self=True) if layer.training]
    model.eval()
    try:
        with preserved(), paddle.no_grad():
            yield
    finally:
        for layer in training:
            layer.training = True
