"""A callback that logs weights, gradients, activations and input images to VisualDL while a model trains."""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.checked_arguments import AT_LEAST_ONE, AT_LEAST_ZERO, checked_class
from paddle_resume.errors import ConfigError
from paddle_resume.inspection.gradient_watch import GradientWatch
from paddle_resume.inspection.layer_hooks import LayerCall, LayerHooks, as_array, floating_in, tensors_in
from paddle_resume.inspection.tensor_statistics import Statistics
from paddle_resume.loggers import VisualDLLogger
from paddle_resume.loggers.graph import model_graph
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.run_view import RunView


@checked_class(every=AT_LEAST_ONE, images=AT_LEAST_ZERO)
class LookInside(Callback):
    """Logs every `every` steps what a model holds and does, through the run's VisualDLLogger.

    It changes no bit of the training, and what it logs is cut back and continued on a resume like every curve.

    Args:
        every: steps between two looks. The step that is looked into is the last of them, and takes longer.
        images: so many of the step's input images, if the model takes images [B, C, H, W] of 1 or 3 channels.
        histograms: of each parameter after the update, and of each gradient if those are wanted.
        gradients: the norm of each parameter's gradient as the optimizer gets it, before any clipping, and of all.
        activations: mean, standard deviation and share of zeros of each layer's outputs, the first time that the
            layer is called in the step.
        graph: the model's graph, once, in a file of its own. Paddle turns a copy of the model into a static one.

    Raises ConfigError for numbers that make no sense, and at the start of a run that has no VisualDLLogger.
    """

    only_watches = True

    def __init__(
        self,
        every: int = 100,
        images: int = 8,
        histograms: bool = True,
        gradients: bool = True,
        activations: bool = True,
        graph: bool = True,
    ) -> None:
        self._every = every
        self._images = images
        self._histograms = histograms
        self._gradients = gradients
        self._activations = activations
        self._graph = graph
        self._graph_is_due = False
        self._log: Optional[VisualDLLogger] = None
        self._watches: list[Any] = []
        self._calls: dict[str, Statistics] = {}
        self._inputs: list[paddle.Tensor] = []
        self._was_called = False
        self._found: dict[str, np.ndarray] = {}

    def on_train_begin(self, trainer: RunView) -> None:
        self._log = next((log for log in trainer.loggers if isinstance(log, VisualDLLogger)), None)
        if self._log is None and trainer.world.is_main:
            raise ConfigError(
                "LookInside logs to VisualDL, and this run has no VisualDLLogger; give the trainer one, as in "
                "Trainer(logger=VisualDLLogger('log/model', 'model')), or leave LookInside out."
            )
        # A fresh run may have another model than the one whose graph lies there.
        self._graph_is_due = (
            self._graph and self._log is not None and (trainer.restored is None or not self._log.graph_path.exists())
        )

    def on_step_begin(self, trainer: RunView) -> None:
        self._stop_watching()
        due = self._is_due(trainer.step + 1)
        if due or self._graph_is_due:
            self._watches.append(LayerHooks(trainer.model, self._see if due else self._see_inputs))
        if due and self._gradients:
            names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
            optimizer = trainer.optimizer
            several = [optimizer] if isinstance(optimizer, paddle.optimizer.Optimizer) else list(optimizer.values())
            self._watches += [GradientWatch(each, names, self._see_gradient) for each in several]

    def on_step_end(self, trainer: RunView) -> None:
        if not self._watches:
            return
        inputs, was_called = self._inputs, self._was_called
        gradients, calls = dict(self._found), dict(self._calls)
        self._stop_watching()
        if self._is_due(trainer.step):
            self._write(trainer.model, trainer.step, inputs, gradients, calls)
        if self._graph_is_due:
            self._graph_is_due = False
            self._write_graph(trainer, inputs if was_called else None)

    def on_train_end(self, trainer: RunView) -> None:
        self._stop_watching()

    def _is_due(self, step: int) -> bool:
        return self._log is not None and step % self._every == 0  # In processes that do not log, never.

    def _stop_watching(self) -> None:
        for watch in self._watches:
            watch.close()
        self._watches, self._inputs, self._was_called = [], [], False
        self._calls.clear()
        self._found.clear()

    def _see(self, call: LayerCall) -> None:
        self._see_inputs(call)
        if self._activations and call.name not in self._calls and not call.layer._sub_layers:
            outputs = floating_in(call.outputs)
            if outputs:
                self._calls[call.name] = Statistics.of(outputs)

    def _see_gradient(self, name: str, gradient: paddle.Tensor) -> None:
        if name not in self._found:
            self._found[name] = as_array(gradient)

    def _see_inputs(self, call: LayerCall) -> None:
        # A step may call parts of the model and never the whole: the first layer's inputs are then the next best.
        self._was_called |= call.name == ""
        if call.use == 0 and (not self._inputs or call.name == ""):
            self._inputs = [tensor.detach() for tensor in tensors_in(call.inputs)]

    def _write(
        self,
        model: paddle.nn.Layer,
        step: int,
        inputs: list[paddle.Tensor],
        gradients: dict[str, np.ndarray],
        calls: dict[str, Statistics],
    ) -> None:
        assert self._log is not None
        scalars: dict[str, float] = {}
        norms = {name: float(np.sqrt(np.square(g.astype(np.float64)).sum())) for name, g in gradients.items()}
        if norms:
            scalars["gradient_norm/total"] = math.sqrt(math.fsum(norm * norm for norm in norms.values()))
        scalars.update({f"gradient_norm/{name}": norm for name, norm in norms.items()})
        for name, seen in calls.items():
            part = name or "model"
            scalars[f"activation_mean/{part}"] = seen.mean
            scalars[f"activation_std/{part}"] = seen.std
            scalars[f"activation_zeros/{part}"] = seen.zeros
        self._log.log_scalars(scalars, step)
        if self._histograms:
            for name, parameter in model.named_parameters():
                self._log.log_histogram(f"weight/{name}", as_array(parameter), step)
            for name, gradient in gradients.items():
                self._log.log_histogram(f"gradient/{name}", gradient, step)
        for i, image in enumerate(_pictures(inputs, self._images)):
            self._log.log_image(f"input/{i}", image, step)

    def _write_graph(self, trainer: RunView, inputs: Optional[list[paddle.Tensor]]) -> None:
        assert self._log is not None
        try:
            if inputs is None:
                raise RuntimeError("a step calls parts of it, never the whole")
            shapes = [list(tensor.shape) for tensor in inputs]
            graph = model_graph(trainer.model, shapes, [str(tensor.dtype).split(".")[-1] for tensor in inputs])
        except Exception as error:
            # Any code of the user's may be in the model. The picture is lost, which is no reason to lose the run.
            reason = next(iter(str(error).strip().rstrip(".").splitlines()), type(error).__name__)
            trainer.tell(
                f"The graph of {type(trainer.model).__name__} could not be drawn: {reason}. The training goes on "
                "without it; LookInside(graph=False) does not try."
            )
            return
        self._log.log_graph(graph)


def _pictures(inputs: list[paddle.Tensor], count: int) -> list[np.ndarray]:
    """The first images [B, C, H, W] among the inputs as uint8 [H, W] or [H, W, 3], from least to most bright."""
    images = next((t for t in inputs if t.ndim == 4 and t.shape[1] in (1, 3)), None)
    if images is None or not count:
        return []
    array = as_array(images[:count]).astype(np.float64)
    array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = array.min(), array.max()
    array = np.round((array - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return [image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)) for image in array]
