"""Looks at a few samples twice, before training, since what differs under the same seed cannot be made again."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.data.sample_loader import seed_sample
from paddle_resume.rng import preserved
from paddle_resume.stateful import Stateful

_SAMPLES = 3
_SECONDS = 2.0
_COLLATED = "batch"


def probe(
    dataset: Any,
    seed: int,
    put_back: Callable[[], None] = lambda: None,
    collate: Optional[Callable[..., Any]] = None,
) -> str:
    """How two looks at one sample, or at what `collate` makes of it, differed under the same seed, or an empty text.

    Generators are put back, and so is the state of a dataset that has `state_dict()`, and whatever `put_back` does.
    It looks at up to three samples, or as many as two seconds allow; not at those of a stream, which would be consumed.
    """
    if isinstance(dataset, paddle.io.IterableDataset) or not len(dataset):
        return ""
    state = copy.deepcopy(dataset.state_dict()) if isinstance(dataset, Stateful) else None
    indices = sorted({int(index) for index in np.linspace(0, len(dataset) - 1, _SAMPLES)})
    with preserved():
        try:
            first = _look(dataset, collate, indices, seed, time.monotonic() + _SECONDS)
            _give_back(dataset, state)
            put_back()
            again = _look(dataset, collate, list(first), seed, math.inf)
        finally:
            _give_back(dataset, state)
            put_back()
    for index, fields in first.items():
        for name in dict.fromkeys([*fields, *again[index]]):
            if fields.get(name) != again[index].get(name):
                if name.startswith(_COLLATED):
                    return (
                        f"collate_fn made two different batches of dataset[{index}] under the same seed: {name} "
                        "differs; it draws from a generator of its own, or keeps state, which data workers lose"
                    )
                return (
                    f"dataset[{index}] gave two different values under the same seed: {name} differs; "
                    f"{type(dataset).__name__} draws from a generator of its own, or keeps state"
                )
    return ""


def _look(
    dataset: Any, collate: Optional[Callable[..., Any]], indices: list[int], seed: int, until: float
) -> dict[int, dict[str, Any]]:
    """The fields of each of these samples, and of a batch of it alone, seeded as in the first epoch."""
    seen: dict[int, dict[str, Any]] = {}
    for index in indices:
        seed_sample(seed, 0, index)
        gathers = getattr(dataset, "can_gather", False)
        sample = dataset.gather(np.array([index])) if gathers else dataset[index]
        seen[index] = dict(_fields(sample, "field"))
        if collate is not None and not gathers:
            seen[index].update(_fields(_collated(collate, sample), _COLLATED))
        if time.monotonic() > until:
            break
    return seen


def _collated(collate: Callable[..., Any], sample: Any) -> Any:
    """A batch of one sample; nothing if the function cannot make one of so few."""
    try:
        return collate([sample])
    except Exception:  # whatever a function of the user's raises; in the run it is heard
        return None


def _fields(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each part of a sample by its name, as something that can be compared; what cannot be is left out."""
    if isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _fields(part, f"{name} {number}")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _fields(part, f"{name} {key}")
    elif isinstance(value, (str, bytes, type(None))):
        yield name, value
    elif isinstance(value, paddle.Tensor) or hasattr(value, "__array_interface__") or np.isscalar(value):
        array = np.asarray(value.numpy() if isinstance(value, paddle.Tensor) else value)
        if array.dtype != object:
            yield name, (array.dtype.str, array.shape, array.tobytes())


def _give_back(dataset: Any, state: Any) -> None:
    if state is not None:
        dataset.set_state_dict(copy.deepcopy(state))
