"""Notes in the order of the computation what the layers of one step give, forward and backward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import paddle

from paddle_resume.inspection.gradient_watch import GradientWatch
from paddle_resume.inspection.layer_hooks import LayerCall, LayerHooks, tensors_in
from paddle_resume.testing.digests import digest_of

_TENSOR: Any = paddle.Tensor
INPUT, FORWARD, LOSS, BACKWARD, GRADIENT = "input", "forward", "loss", "backward", "gradient"


class Event(NamedTuple):
    """Something that was computed or read in a step: of what kind it is, what it is called, and its bits' digest."""

    kind: str
    what: str
    digest: str


class LayerTrace:
    """Within the `with` block, what is computed from `batches` in one step of `trainer`, as `events`.

    Each tensor is noted once: as the output of the innermost layer that gives it, or as what goes into a layer that
    takes it from no other one. The gradient of each is noted where the backward pass has completed it, and counts for
    the layers into which the tensor went. What is computed stays the same.
    """

    def __init__(self, trainer: Any, batches: Iterable[Any]) -> None:
        self._trainer = trainer
        self.events: list[Event] = []
        # Kept, so that no other tensor gets the same id within the step.
        self._seen = {id(tensor): tensor for batch in batches for tensor in tensors_in(list(batch))}
        self._producers: dict[int, str] = {}
        self._consumers: dict[int, list[str]] = {}
        self._called_since: set[str] = set()
        self._watches: list[Any] = []
        self._backward = _TENSOR.backward

    def __enter__(self) -> LayerTrace:
        model, loss, optimizers = self._trainer.model, self._trainer.loss, self._trainer.optimizer
        self._watches = [
            LayerHooks(model, lambda call: self._called(call, call.name or "the model", f"model.{call.name}"))
        ]
        if isinstance(loss, paddle.nn.Layer):
            self._watches.append(
                LayerHooks(loss, lambda call: self._called(call, f"loss {call.name}".strip(), f"loss.{call.name}"))
            )
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        several = [optimizers] if isinstance(optimizers, paddle.optimizer.Optimizer) else list(optimizers.values())
        self._watches += [GradientWatch(each, names, self._note_gradient) for each in several]
        trace = self

        def backward(tensor: paddle.Tensor, *args: Any, **options: Any) -> Any:
            trace._note(LOSS, "", tensor)
            return trace._backward(tensor, *args, **options)

        _TENSOR.backward = backward
        return self

    def __exit__(self, *_: object) -> None:
        _TENSOR.backward = self._backward
        for watch in self._watches:
            watch.close()

    def _called(self, call: LayerCall, name: str, path: str) -> None:
        label = f"{name} ({type(call.layer).__name__}{f', call {call.use + 1}' if call.use else ''})"
        if self._is_innermost(path):
            for tensor in tensors_in(list(call.inputs)):
                if id(tensor) not in self._seen:
                    self._note(INPUT, label, tensor)
                    self._watch(tensor)
                self._consumers.setdefault(id(tensor), []).append(label)
        for tensor in self._unseen(call.outputs):
            self._note(FORWARD, label, tensor)
            self._producers[id(tensor)] = label
            self._watch(tensor)

    def _is_innermost(self, path: str) -> bool:
        """Whether no layer inside this one was called; one may have some and not call them, such as an LSTM."""
        inner = {one for one in self._called_since if one.startswith(f"{path.rstrip('.')}.")}
        self._called_since = (self._called_since - inner) | {path}
        return not inner

    def _unseen(self, value: Any) -> Iterator[paddle.Tensor]:
        return (tensor for tensor in tensors_in(value) if id(tensor) not in self._seen)

    def _watch(self, tensor: paddle.Tensor) -> None:
        self._seen[id(tensor)] = tensor
        if not tensor.stop_gradient:
            number = id(tensor)
            tensor.register_hook(lambda gradient: self._note(BACKWARD, self._backward_of(number), gradient))

    def _backward_of(self, number: int) -> str:
        """Whose backward pass has completed the gradient of this tensor."""
        consumers = self._consumers.get(number)
        if consumers:
            return ", ".join(dict.fromkeys(consumers))
        return f"what follows {self._producers[number]}"

    def _note_gradient(self, name: str, gradient: paddle.Tensor) -> None:
        self._note(GRADIENT, name, gradient)

    def _note(self, kind: str, what: str, tensor: paddle.Tensor) -> None:
        self.events.append(Event(kind, what, digest_of(tensor)))
