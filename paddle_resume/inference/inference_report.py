"""What a person or a program is told of predictions and of an export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from rich.table import Table
from rich.text import Text

from paddle_resume.inference.export_model import Exported
from paddle_resume.inference.image_sources import Failure
from paddle_resume.inference.predict import Prediction
from paddle_resume.translations import labelled
from paddle_resume.translations.console import Console

_BEST = 3
_ROWS = 100
_WIDE = 10_000  # A pipe has no width that a line should be broken at.


def print_table(predictions: Sequence[Prediction], classes: list[str], unit: str) -> None:
    """One line an image: name, class, its probability, and the two next best; of very many the first 100."""
    table = Table("file", "class", unit, "next", box=None, pad_edge=False)
    for prediction in predictions[:_ROWS]:
        (name, score), *others = _best(prediction, classes)
        following = ", ".join(f"{other} {_short(value)}" for other, value in others)
        table.add_row(Text(prediction.name), Text(name), Text(_short(score)), Text(following))
    console = Console(highlight=False, width=None if Console().is_terminal else _WIDE)
    console.print(table)
    if len(predictions) > _ROWS:
        console.print(f"and {len(predictions) - _ROWS:,} more; --csv or --json lists all", markup=False)


def to_csv(predictions: Sequence[Prediction], classes: list[str], unit: str, labels: Optional[np.ndarray]) -> str:
    """A head and one line an image."""
    places = ["", "second_", "third_"][: min(_BEST, len(classes))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["file", *(f"{place}{column}" for place in places for column in ("class", unit))]
    writer.writerow([*head, *(["label"] if labels is not None else [])])
    for i, prediction in enumerate(predictions):
        label = [] if labels is None else [_name(classes, int(labels[i]))]
        writer.writerow([prediction.name, *(value for pair in _best(prediction, classes) for value in pair), *label])
    return text.getvalue()


def to_json(
    predictions: Sequence[Prediction],
    failures: Sequence[Failure],
    classes: list[str],
    unit: str,
    labels: Optional[np.ndarray],
    accuracy: Optional[float],
) -> str:
    """One object: `predictions`, `failed`, and with labels `accuracy`."""
    rows: list[dict[str, Any]] = []
    for i, prediction in enumerate(predictions):
        first, *others = [{"class": name, unit: score} for name, score in _best(prediction, classes)]
        rows.append({"file": prediction.name, **first, "next": others})
        if labels is not None:
            rows[-1]["label"] = _name(classes, int(labels[i]))
    failed = [{"file": failure.name, "reason": failure.reason} for failure in failures]
    content: dict[str, Any] = {"predictions": rows, "failed": failed}
    if accuracy is not None:
        content["accuracy"] = accuracy
    return json.dumps(content, indent=2, ensure_ascii=False)


def print_export(exported: Exported) -> None:
    """What was exported, how it compares with the model, and where it lies."""
    said = exported.description
    differences = [
        f"{name}: the same bits" if difference == 0 else f"{name}: at most {difference:.2g} apart"
        for name, difference in said.check.largest_difference.items()
    ]
    lines = [
        ("Weights", f"{said.weights.file} ({said.weights.digest})"),
        ("Data", said.data),
        ("Inputs", ", ".join(map(str, said.interface.inputs))),
        ("Outputs", ", ".join(map(str, said.interface.outputs))),
        (
            "Check",
            f"{said.check.samples} real samples; {'; '.join(differences)} (allowed: {said.check.tolerance:.2g})",
        ),
        *[("Wrote", str(path)) for path in exported.files],
    ]
    for label, text in lines:
        print(labelled(label, text))


def _best(prediction: Prediction, classes: list[str]) -> list[tuple[str, float]]:
    return [(classes[i], float(prediction.scores[i])) for i in prediction.order[:_BEST]]


def _short(score: float) -> str:
    return f"{score:.4f}"


def _name(classes: list[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)
