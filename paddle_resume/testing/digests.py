"""Digests of what a step of a run is made of: tensors, arrays and plain values, by their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import xxhash

from paddle_resume.owners.tensor_views import view
from paddle_resume.parallel.sparse_gradients import values_of


def digest_of(value: Any) -> str:
    """The digest of the bits of tensors, arrays and plain values, nested as they may be."""
    hashed = xxhash.xxh3_64()
    _feed(hashed, value)
    return hashed.hexdigest()


def _feed(hashed: Any, value: Any) -> None:
    if isinstance(value, paddle.Tensor):
        value = view(values_of(value)) if value._is_initialized() else None
    if isinstance(value, np.ndarray):
        hashed.update(f"{value.dtype} {value.shape}".encode())
        hashed.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    elif isinstance(value, dict):
        for key, part in value.items():
            hashed.update(repr(key).encode())
            _feed(hashed, part)
    elif isinstance(value, (list, tuple)):
        hashed.update(f"{len(value)} of".encode())
        for part in value:
            _feed(hashed, part)
    elif isinstance(value, float):
        hashed.update(value.hex().encode())
    elif value is None or isinstance(value, (str, bytes, int, np.generic)):
        hashed.update(repr(value).encode())
    else:
        hashed.update(type(value).__qualname__.encode())  # Its address is no part of the run.
