"""What tells one dataset from another, so that a resume on other data is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import xxhash

from paddle_resume.data.sample_loader import seed_sample
from paddle_resume.rng import preserved

_PROBES = 8


def dataset_identity(dataset: Any, seed: int) -> dict[str, Any]:
    """Class, length and a digest of `dataset`.

    A dataset that offers `identity()` is asked for its digest. Of others a few samples, spread over the
    whole, are loaded and digested: cheap, and enough to notice another file, split or transform, but not every
    changed sample. Of a stream only the class is known.
    """
    identity: dict[str, Any] = {"dataset": type(dataset).__name__}
    if isinstance(dataset, paddle.io.IterableDataset):
        return {**identity, **({"digest": dataset.identity()} if hasattr(dataset, "identity") else {})}
    identity["length"] = len(dataset)
    identity["digest"] = dataset.identity() if hasattr(dataset, "identity") else _probe(dataset, seed)
    return identity


def _probe(dataset: Any, seed: int) -> str:
    hasher = xxhash.xxh3_128()
    with preserved():
        for index in sorted({int(i) for i in np.linspace(0, len(dataset) - 1, _PROBES)} if len(dataset) else ()):
            seed_sample(seed, index)
            _add(hasher, dataset[index])
    return hasher.hexdigest()


def _add(hasher: Any, value: Any) -> None:
    if isinstance(value, (list, tuple)):
        for part in value:
            _add(hasher, part)
    elif isinstance(value, dict):
        for key in sorted(value):
            _add(hasher, value[key])
    elif isinstance(value, (str, bytes)):
        hasher.update(value.encode() if isinstance(value, str) else value)  # xxhash 4 takes no text.
    else:
        array = np.ascontiguousarray(value.numpy() if isinstance(value, paddle.Tensor) else value)
        if array.dtype != object:  # A sample of another kind is left to its dataset's identity().
            hasher.update(array.tobytes())
