"""`average`: the mean of several checkpoints' weights (as in stochastic weight averaging), as a plain `.pdparams`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.errors import CheckpointError
from paddle_resume.toolbox.array_figures import is_floating, narrowed, type_name, widened
from paddle_resume.toolbox.byte_progress import Advance, unheard
from paddle_resume.toolbox.checkpoint_source import WEIGHTS, Opened, TensorFile, file_of
from paddle_resume.toolbox.weights_file import write_weights

_LISTED = 5


@dataclass(frozen=True)
class Averaged:
    """What was written; `taken_over` are tensors of whole numbers that differ, and come from the last checkpoint."""

    output: str
    sources: list[str]
    tensors: int
    size: int
    taken_over: list[str] = field(default_factory=list)


def average(sources: Sequence[Opened], output: Path, advance: Advance = unheard) -> Averaged:
    """Write the mean of the sources' weights to `output`, each tensor in its own dtype.

    It is computed in float64, added up in the order of the sources, and rounded once (bfloat16 by way of float32).
    In memory are the result and one tensor of one source at a time. Raises CheckpointError for fewer than two
    sources, and if their weights do not have the same names, shapes and dtypes; SaveError.
    """
    if len(sources) < 2:
        raise CheckpointError("An average needs two checkpoints or more; name them one after the other.")
    files = [file_of(source, WEIGHTS) for source in sources]
    for file in files[1:]:
        _require_alike(files[0], file)
    arrays: Arrays = {}
    taken_over = []
    for name, tensor in files[0].tensors.items():
        if is_floating(tensor.dtype):
            total = widened(files[0].read(name))
            with np.errstate(invalid="ignore"):  # The average of infinite values of both signs is NaN.
                for file in files[1:]:
                    total += widened(file.read(name))
            arrays[name] = np.asarray(narrowed(total / len(files), tensor.dtype))
        else:
            arrays[name] = files[-1].read(name)
            if len({file.tensors[name].digest for file in files}) > 1:
                taken_over.append(name)
        advance(tensor.size * len(files))
    size = write_weights(output, arrays, sources[0].names)
    return Averaged(str(output), [source.label for source in sources], len(arrays), size, taken_over)


def _require_alike(first: TensorFile, other: TensorFile) -> None:
    problems = [f"{name} is missing in {other.path}" for name in first.tensors if name not in other.tensors]
    problems += [f"{name} is only in {other.path}" for name in other.tensors if name not in first.tensors]
    for name, a in first.tensors.items():
        b = other.tensors.get(name, a)
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            kinds = [f"{type_name(each.dtype)} {list(each.shape)}" for each in (a, b)]
            problems.append(f"{name} is {kinds[0]} in {first.path} and {kinds[1]} in {other.path}")
    if problems:
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise CheckpointError(
            f"These weights are not of one model: {'; '.join(problems[:_LISTED])}{more}. Name checkpoints of the same "
            "model. Nothing was written."
        )
