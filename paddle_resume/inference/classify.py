"""The whole of `paddle-resume predict`: find the images, classify them with a progress bar, and report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, Optional

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from paddle_resume.errors import DataError
from paddle_resume.inference.image_sources import Failure, ImageSource, find_images, read_labels
from paddle_resume.inference.inference_report import print_table, to_csv, to_json
from paddle_resume.inference.predict import Classifier, Prediction, accuracy, hint
from paddle_resume.translations import heading, shown
from paddle_resume.translations.console import Console

Form = Literal["table", "json", "csv"]


def classify(
    classifier: Classifier,
    paths: Sequence[str],
    *,
    invert: bool = False,
    labels: Optional[str] = None,
    batch_size: int = 64,
    form: Form = "table",
) -> int:
    """Print what the classifier says of the images that `paths` name, and on stderr what could not be done.

    Returns the exit code: 0, 1 if some of them could not be read, 2 if none could. Raises DataError if no image is
    named, or the labels do not fit.
    """
    if not paths:
        raise DataError("No image is named; give image files, folders, or an IDX file such as t10k-images-idx3-ubyte.")
    found = find_images(paths)
    truth = read_labels(labels, len(found.images)) if labels is not None else None
    predictions, failures = _run(classifier, found.images, invert, batch_size)
    failures = [*found.failures, *failures]
    for failure in failures:
        print(f"{heading('error')}: {shown(failure.reason)}", file=sys.stderr)
    if truth is not None and failures:
        raise DataError(f"--labels {labels} needs every image, and {len(failures)} could not be read.")
    share = accuracy(predictions, truth) if truth is not None and predictions else None
    if form == "json":
        print(to_json(predictions, failures, classifier.classes, classifier.unit, truth, share))
    elif form == "csv":
        print(to_csv(predictions, classifier.classes, classifier.unit, truth), end="")
    elif predictions:
        print_table(predictions, classifier.classes, classifier.unit)
        if share is not None:
            print(shown(f"accuracy: {share:.6g} ({round(share * len(predictions)):,} of {len(predictions):,})"))
    advice = hint(predictions, classifier.image)
    if advice:
        print(shown(f"hint: {advice}"), file=sys.stderr)
    if not predictions:
        return DataError.exit_code
    return 1 if failures else 0


def _run(
    classifier: Classifier, images: Sequence[ImageSource], invert: bool, batch_size: int
) -> tuple[list[Prediction], list[Failure]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    predictions: list[Prediction] = []
    failures: list[Failure] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(heading("predict"), total=len(images))
        for result in classifier.predict(
            images, invert=invert, batch_size=batch_size, advance=lambda count: bar.advance(task, count)
        ):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                predictions.append(result)
    return predictions, failures
