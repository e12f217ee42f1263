"""Prints a summary: rich tables on a terminal, plain columns in a pipe."""

from __future__ import annotations

import numpy as np

from paddle_resume.errors import ConfigError
from paddle_resume.inspection.model_summary import LayerSummary, ModelSummary
from paddle_resume.inspection.tensor_statistics import Statistics, channel_axis
from paddle_resume.storage.durable_files import format_bytes
from paddle_resume.ui.tables import TablePrinter

_STATISTICS = ("mean", "std", "min", "max", "zeros")


class SummaryPrinter(TablePrinter):
    """Prints the parts of a summary."""

    def print_layers(self, summary: ModelSummary) -> None:
        """Each layer with its shapes, then the totals."""
        table = self.table(
            "Layers",
            ("layer", "class", "kernel", "stride", "padding", "parameters", "input", "output"),
            right=("parameters",),
        )
        for row in summary.layers:
            self.add(
                table,
                *(row.name or "(model)", type(row.layer).__name__),
                *(row.window(part) for part in ("kernel", "stride", "padding")),
                "used again" if row.parameters is None else f"{row.parameters:,}",
                *(("not called", "") if row.output is None else (row.input, row.output)),
            )
        self.show(table)
        frozen = summary.parameters - summary.trainable
        parts = [f"{summary.parameters:,} parameters ({format_bytes(summary.parameter_bytes)})"]
        parts += [f"{summary.trainable:,} of them trainable"] if frozen else []
        parts += [f"{summary.buffers:,} values in buffers"] if summary.buffers else []
        self.say(f"Total: {', '.join(parts)}; input {summary.input}, output {summary.output}")

    def print_values(self, summary: ModelSummary) -> None:
        """Where weights and outputs lie, with a remark on those that look wrong."""
        weights = self.table("Weights", ("parameter", "shape", *_STATISTICS, "remark"), right=_STATISTICS)
        for weight in summary.weights:
            figures = _figures(weight.statistics)
            self.add(weights, weight.name, str(weight.shape), *figures, "; ".join(weight.findings))
        self.show(weights)
        outputs = self.table("Outputs over the batch", ("layer", "class", *_STATISTICS, "remark"), right=_STATISTICS)
        for layer in summary.layers:
            if layer.statistics is not None:
                figures = _figures(layer.statistics)
                name, kind = layer.name or "(model)", type(layer.layer).__name__
                self.add(outputs, name, kind, *figures, "; ".join(layer.findings))
        self.show(outputs)
        remarked = [weight.name for weight in summary.weights if weight.findings]
        remarked += [layer.name or "(model)" for layer in summary.layers if layer.findings]
        self.say(f"Look at: {', '.join(dict.fromkeys(remarked))}" if remarked else "Nothing stands out.")

    def print_channel(self, summary: ModelSummary, wanted: str | None, seed: int) -> None:
        """One channel of one layer for the first sample, and the weights it comes from.

        `wanted` is `LAYER` or `LAYER:INDEX`; what it leaves open is drawn by `seed`. Raises ConfigError for a
        layer or a channel that is not there.
        """
        draw = np.random.RandomState(seed)
        name, index = _parse(wanted) if wanted else (_drawn_layer(summary, draw), None)
        if name not in summary.samples:
            names = ", ".join(row.name for row in summary.layers if row.name in summary.samples)
            raise ConfigError(f"--channel {wanted}: no layer {name} has floating-point outputs; use one of {names}.")
        row = next((row for row in summary.layers if row.name == name), None)
        sample = summary.samples[name]
        if sample.ndim == 0 or row is None or (sample.ndim == 1 and index is None):
            self._show(f"Output of {name or 'the model'} for the first sample, {list(sample.shape)}", sample)
            return
        axis = channel_axis(row.layer, sample.ndim + 1) - 1
        count = sample.shape[axis]
        index = int(draw.randint(count)) if index is None else index
        if not 0 <= index < count:
            raise ConfigError(f"--channel {wanted}: {name} has the channels 0 to {count - 1}.")
        channel = np.take(sample, index, axis)
        self._show(f"Channel {index} of {name} for the first sample, {list(channel.shape)}", channel)
        self._show_kernel(row, index)

    def _show_kernel(self, row: LayerSummary, index: int) -> None:
        weight = getattr(row.layer, "weight", None)
        if not row.window("kernel") or weight is None or "Transpose" in type(row.layer).__name__:
            return
        kernel = weight.astype("float32").numpy()[index]
        others = f", of {len(kernel)} such" if len(kernel) > 1 else ""
        self._show(f"Its kernel for input channel 0{others}, {list(kernel[0].shape)}", kernel[0])

    def _show(self, title: str, array: np.ndarray) -> None:
        text = np.array2string(array, precision=3, suppress_small=True, max_line_width=110, threshold=400, edgeitems=6)
        self.say(f"\n{title}\n{text}")


def _figures(statistics: Statistics) -> list[str]:
    s = statistics
    return [*(f"{value:.4g}" for value in (s.mean, s.std, s.minimum, s.maximum)), f"{s.zeros:.1%}"]


def _parse(wanted: str) -> tuple[str, int | None]:
    name, separator, index = wanted.rpartition(":")
    if not separator:
        return wanted, None
    if not index.isdigit():
        raise ConfigError(f"--channel {wanted}: expected LAYER or LAYER:INDEX, such as conv1:3.")
    return name, int(index)


def _drawn_layer(summary: ModelSummary, draw: np.random.RandomState) -> str:
    """A layer with pictures for outputs, if there is one."""
    names = [row.name for row in summary.layers if row.name in summary.samples]
    if not names:
        raise ConfigError("No layer of the model has floating-point outputs, so there is no channel to show.")
    pictures = [name for name in dict.fromkeys(names) if summary.samples[name].ndim == 3]
    return str(draw.choice(pictures or names))
