"""A digest of what goes into a step: which samples they are, and some of their values."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import xxhash

from paddle_resume.data.batch import Batch
from paddle_resume.data.batch_tree import tensors
from paddle_resume.owners.tensor_views import view

# Of each entry. What was drawn otherwise leaves no sample as it was, so few values tell.
_VALUES = 64
_SMALL = 1 << 16


def batch_digest(batches: Sequence[Batch], values: bool = True) -> int:
    """64 bits of the batches of a step: their keys and, if wanted, values spread over each tensor."""
    hasher = xxhash.xxh3_64()
    for batch in batches:
        hasher.update(batch.key)
        for _, entry in tensors(batch) if values else ():
            # A small copy takes a shorter way through Paddle than a view.
            flat = (entry.numpy() if prod(entry.shape) <= _SMALL else view(entry)).reshape(-1)
            hasher.update(flat[:: flat.size // _VALUES + 1].tobytes())
    return hasher.intdigest()
