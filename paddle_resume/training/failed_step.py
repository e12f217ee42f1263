"""Which sample made a step fail: the data are looked at once more, so that the error can name it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import paddle

from paddle_resume.data.batch import Batch
from paddle_resume.data.batch_tree import part_of, ragged_fields, tensors
from paddle_resume.errors import ConfigError, DataError, own_sentence
from paddle_resume.own_frames import is_of_user
from paddle_resume.training.undisturbed import training_undisturbed

Forward = Callable[[Batch], Any]
# What data, model and code that do not fit come to, in Python and in Paddle; and of Paddle's RuntimeErrors these. All
# else, such as a lack of memory or a device that is lost, may be another at the next try.
_MISTAKES = (
    *(ValueError, TypeError, IndexError, KeyError, AttributeError, NameError, UnboundLocalError),
    *(AssertionError, NotImplementedError, ZeroDivisionError),
)
_OF_PADDLE = ("(NotFound)", "(PreconditionNotMet)", "(InvalidArgument)")


def step_error(error: Exception, batches: Sequence[Batch], where: str, what: str) -> Optional[ConfigError]:
    """The error for a step of `what` that failed whichever its samples are; None if no mistake need be behind it."""
    is_mistake = type(error) in _MISTAKES or (
        type(error) is RuntimeError and any(kind in str(error) for kind in _OF_PADDLE)
    )
    if not is_mistake:
        return None
    given = ", ".join(f"{list(t.shape)} {str(t.dtype).rpartition('.')[2]}" for _, t in tensors(batches[0]))
    batch = given or type(batches[0]).__name__
    place = place_in_own_code(error)
    return ConfigError(f"{where}: {what} failed{place} on a batch of {batch}: {own_sentence(error)}.")


def place_in_own_code(error: BaseException) -> str:
    """Such as ` (net.py, line 12)`: the last line of it that is neither of a library nor of this package."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and is_of_user(frame.filename):
            return f" ({path.name}, line {frame.lineno})"
    return ""


def bad_sample(
    error: Exception,
    batches: Sequence[Batch],
    forward: Forward,
    model: Any,
    where: str,
    is_stream: bool = False,
    what: str = "model and loss",
    undisturbed: Optional[AbstractContextManager[None]] = None,
) -> Optional[DataError]:
    """The error that names the sample which `forward` cannot take, where it is one sample alone; else None.

    `where` says which step it was, and of which data. The batches are tried again by halves, without gradients and in
    evaluation mode or as `undisturbed` has it. Not on a GPU, which an error may have left unusable.
    """
    if paddle.device.get_device() != "cpu":
        return None
    with undisturbed or training_undisturbed(model):
        for batch in (part for each in batches for part in each.parts()):
            place = _failing(batch, forward)
            if place is not None:
                index = _index(batch, place, is_stream)
                wrong = _out_of_range(batch, place, model)
                return DataError(
                    f"{where}: {index} cannot go through {what}{wrong and f': {wrong}'}; the others of its batch can. "
                    f"{own_sentence(error)}."
                )
            if shape := _of_other_shape(batch, is_stream):
                return DataError(f"{where}: {shape}. {own_sentence(error)}.")
    return None


def _failing(batch: Batch, forward: Forward) -> Optional[int]:
    """The place in the batch of the first sample that fails; None if all do, or none does alone."""
    size = batch.local_size
    first, last = 0, size
    if size < 2 or not _fails(batch, 0, size, forward):
        return None
    while last - first > 1:
        middle = (first + last) // 2
        if _fails(batch, first, middle, forward):
            last = middle
        elif _fails(batch, middle, last, forward):
            first = middle
        else:
            return None
    others = {0, 1, size // 2, size - 1} - {first}
    return None if all(_fails(batch, place, place + 1, forward) for place in sorted(others)) else first


def _of_other_shape(batch: Batch, is_stream: bool) -> str:
    """Which sample has another shape than most of the batch, or what it means that all have their own."""
    for name, field in ragged_fields(batch):
        shapes = [list(each.shape) for each in field]
        usual = max(shapes, key=shapes.count)
        odd = next((place for place, shape in enumerate(shapes) if shape != usual))
        if shapes.count(usual) * 2 > len(shapes):
            return (
                f"{_index(batch, odd, is_stream)} has in {name} the shape {shapes[odd]}, where the others have {usual}"
            )
        return (
            f"the samples have different shapes in {name}, such as {usual} and {shapes[odd]}, so that it comes as a "
            "list of one tensor for each. Give them one shape, or the dataset a method collate_fn(samples) that makes "
            "batches"
        )
    return ""


def _fails(batch: Batch, first: int, last: int, forward: Forward) -> bool:
    count = last - first
    try:
        forward(Batch.of(part_of(batch, slice(first, last)), count, count))
    except Exception:  # whatever the model or the loss raises
        return True
    return False


def _index(batch: Batch, place: int, is_stream: bool) -> str:
    """What the sample is called: its index in the dataset or, in a stream, where it stands."""
    keys = np.frombuffer(batch.key, np.int64)
    if is_stream and len(keys) == 2:
        return f"sample {int(keys[1]) + place} (counted from 0) of the stream"
    if not is_stream and len(keys) == batch.local_size:
        return f"dataset[{int(keys[place])}]"
    return f"sample {place} (counted from 0) of the batch"


def wrong_label(batch: Batch, model: Any) -> str:
    """Which of the samples has a label that the model's output does not have, as a sentence; empty if none has."""
    for place in range(batch.local_size):
        if wrong := _out_of_range(batch, place, model):
            return f"{_index(batch, place, is_stream=False)}: {wrong}."
    return ""


def _out_of_range(batch: Batch, place: int, model: Any) -> str:
    """What is wrong with its label, if that is a class that the model's output does not have."""
    label, one = batch.label, slice(place, place + 1)
    if not isinstance(label, paddle.Tensor) or "int" not in str(label.dtype):
        return ""
    values = label[one].numpy().reshape(-1)
    try:
        output = Batch.of(part_of(batch, one)).through(model)
        classes = int(next(each for _, each in tensors([output])).shape[-1])
    except Exception:  # the model may not be called like this
        return ""
    strange = [int(value) for value in values if not 0 <= value < classes]
    if not strange:
        return ""
    return f"its label is {strange[0]}, and the model has {classes} outputs, for the labels 0 to {classes - 1}"
