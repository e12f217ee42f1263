"""One pass of a batch through a model, layer by layer: shapes, parameters, and where the values lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.inspection.layer_hooks import LayerCall, LayerHooks, as_array, floating_in, shapes_in
from paddle_resume.inspection.tensor_statistics import Statistics, output_findings, weight_findings
from paddle_resume.training.undisturbed import training_undisturbed

_WINDOW = {
    "kernel": ("_kernel_size", "kernel_size", "ksize", "kernel_sizes"),
    "stride": ("_stride", "stride", "strides"),
    "padding": ("_padding", "padding", "paddings"),
}


@dataclass(frozen=True)
class LayerSummary:
    """One call of one layer. `parameters` are None from its second call on, `output` is None if it was not called."""

    name: str
    layer: paddle.nn.Layer
    parameters: Optional[int]
    input: str
    output: Optional[str]
    statistics: Optional[Statistics] = None
    findings: list[str] = field(default_factory=list)

    def window(self, part: str) -> str:
        """The `kernel`, `stride` or `padding` of the layer as a text; empty if it has none."""
        for attribute in _WINDOW[part]:
            value = vars(self.layer).get(attribute)
            if value is not None:
                sizes = value if isinstance(value, (list, tuple)) else [value]
                return "x".join(map(str, sizes))
        return ""


@dataclass(frozen=True)
class WeightSummary:
    """One parameter."""

    name: str
    shape: list[int]
    statistics: Statistics
    findings: list[str]


@dataclass(frozen=True)
class ModelSummary:
    """What one pass has shown. `samples` holds each layer's first output for the first sample, by layer name."""

    layers: list[LayerSummary]
    weights: list[WeightSummary]
    samples: dict[str, np.ndarray]
    input: str
    output: str
    parameters: int
    trainable: int
    parameter_bytes: int
    buffers: int


def summarize(model: paddle.nn.Layer, inputs: list[Any], values: bool = False) -> ModelSummary:
    """Pass `inputs` through `model` in evaluation mode; leaves no trace in it.

    With `values` the weights and every layer's outputs are measured too. Listed are the layers that do the work:
    those with no layer inside that was called, and those with parameters of their own.
    """
    calls: list[_MeasuredCall] = []
    with LayerHooks(model, lambda call: calls.append(_MeasuredCall.of(call, values))), training_undisturbed(model):
        outputs = model(*inputs)
    called = {call.name for call in calls}
    layers = [_row(call, called) for call in calls if _does_the_work(call, called)]
    layers += _uncalled(model, called)
    parameters = list(model.parameters())
    return ModelSummary(
        layers=layers,
        weights=[_weight(name, parameter) for name, parameter in model.named_parameters()] if values else [],
        samples={call.name: call.sample for call in reversed(calls) if call.sample is not None},
        input=shapes_in(inputs),
        output=shapes_in(outputs),
        parameters=_count(parameters),
        trainable=_count([p for p in parameters if not p.stop_gradient]),
        parameter_bytes=sum(int(np.prod(p.shape)) * p.element_size() for p in parameters),
        buffers=_count(list(model.buffers())),
    )


@dataclass(frozen=True)
class _MeasuredCall:
    """What is kept of a call: a later layer may change a tensor in place, so it is measured at once."""

    name: str
    layer: paddle.nn.Layer
    use: int
    input: str
    output: str
    statistics: Optional[Statistics]
    findings: list[str]
    sample: Optional[np.ndarray]

    @classmethod
    def of(cls, call: LayerCall, values: bool) -> _MeasuredCall:
        shapes = (shapes_in(call.inputs) if call.inputs else "", shapes_in(call.outputs))
        arrays = floating_in(call.outputs) if values else []
        if not arrays:
            return cls(call.name, call.layer, call.use, *shapes, None, [], None)
        statistics = Statistics.of(arrays)
        findings = output_findings(call.layer, arrays, statistics)
        sample = arrays[0][0] if arrays[0].ndim and len(arrays[0]) else None
        return cls(call.name, call.layer, call.use, *shapes, statistics, findings, sample)


def _does_the_work(call: _MeasuredCall, called: set[str]) -> bool:
    return not _calls_others(call.name, called) or bool(_own_parameters(call.layer))


def _calls_others(name: str, called: set[str]) -> bool:
    return any(other != name and _lies_in(other, name) for other in called)


def _lies_in(name: str, outer: str) -> bool:
    return outer == "" or name.startswith(f"{outer}.")


def _row(call: _MeasuredCall, called: set[str]) -> LayerSummary:
    # Of a layer such as LSTM, whose kernel does the work of the cells inside, all parameters count here.
    whole = not _calls_others(call.name, called)
    parameters = call.layer.parameters() if whole else _own_parameters(call.layer)
    count = _count(parameters) if call.use == 0 else None
    return LayerSummary(call.name, call.layer, count, call.input, call.output, call.statistics, call.findings)


def _uncalled(model: paddle.nn.Layer, called: set[str]) -> list[LayerSummary]:
    """Layers with parameters that the pass did not come by, neither themselves nor as part of another's kernel."""
    covered = {name for name in called if not _calls_others(name, called)}
    rows = []
    for name, layer in model.named_sublayers(include_self=True):
        inside = name in called or any(_lies_in(name, outer) for outer in covered)
        if not inside and _own_parameters(layer):
            rows.append(LayerSummary(name, layer, _count(_own_parameters(layer)), "", None))
    return rows


def _weight(name: str, parameter: paddle.Tensor) -> WeightSummary:
    statistics = Statistics.of([as_array(parameter)])
    shape = list(parameter.shape)
    return WeightSummary(name, shape, statistics, weight_findings(statistics, len(shape)))


def _own_parameters(layer: paddle.nn.Layer) -> list[paddle.Tensor]:
    return list(layer.parameters(include_sublayers=False))


def _count(tensors: list[paddle.Tensor]) -> int:
    return sum(int(np.prod(tensor.shape)) for tensor in tensors)
