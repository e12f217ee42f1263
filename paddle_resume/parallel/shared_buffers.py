"""The buffers of a model in an elastic run: each share starts a step from the same, and one rule says what is kept.

Of floating-point buffers, running statistics of batch norms included, the start of the step is kept plus the mean of
what the shares have changed, in the order of the tree: an element that no share changes stays as it is, bit for bit.
Of whole numbers and truth values, such as counters, what the first share with samples has made of them is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle.nn.utils.spectral_norm_hook import SpectralNorm
from paddle.nn.utils.weight_norm_hook import WeightNorm

from paddle_resume.errors import StateError
from paddle_resume.parallel.batch_norm import per_process_statistics

FLOATS = (paddle.float32, paddle.float16, paddle.bfloat16, paddle.float64)
_WHOLE = (paddle.int64, paddle.int32, paddle.int16, paddle.int8, paddle.uint8, paddle.bool)
_NORM_HOOKS = (SpectralNorm, WeightNorm)
_WORDS = 4
"""A whole number travels as so many of 16 bits, which a sum with zeros leaves as they are."""


class SharedBuffers:
    """The buffers of `model` during one step, as they were when it began.

    Raises StateError for one of another type than these.
    """

    def __init__(self, model: paddle.nn.Layer, dtype: Any) -> None:
        self._model = model
        found = self._found = _buffers(model)
        self.floats = [tensor for tensor in found if tensor.dtype in FLOATS]
        self.whole = [tensor for tensor in found if tensor.dtype in _WHOLE]
        if len(self.floats) + len(self.whole) < len(found):
            other = next(each for each in found if each.dtype not in (*FLOATS, *_WHOLE))
            raise StateError(
                f"The buffer {other.name} of the model is of {other.dtype}. With parallel.elastic buffers have to be "
                "floating-point or whole numbers, or truth values: keep it in two of them, or train without elastic."
            )
        self._dtype = dtype
        self._float_start = [tensor.clone() for tensor in self.floats]
        self._whole_start = [tensor.clone() for tensor in self.whole]
        self._start = _flat(self._float_start, dtype) if self.floats else None

    @property
    def size(self) -> int:
        """How many numbers of floating-point buffers there are."""
        return 0 if self._start is None else self._start.shape[0]

    @property
    def words(self) -> int:
        """How many words its whole numbers take."""
        return _WORDS * sum(tensor.size for tensor in self.whole)

    def begin_share(self) -> None:
        """Make them what they were when the step began."""
        for tensor, start in zip([*self.floats, *self.whole], [*self._float_start, *self._whole_start]):
            tensor.set_value(start)

    def changes(self, only_share: bool) -> list[paddle.Tensor]:
        """What a share has changed in the floating-point ones, flat; of the only share what it has made of them."""
        if self._start is None:
            return []
        now = _flat(self.floats, self._dtype)
        if only_share:
            return [now]
        # What is equal has not changed, infinities included.
        return [paddle.where(now == self._start, paddle.zeros_like(now), now - self._start)]

    def take_whole(self) -> np.ndarray:
        """What a share has made of the whole numbers, as words."""
        parts = [tensor.numpy().astype(np.int64).reshape(-1) for tensor in self.whole]
        return np.concatenate(parts).view(np.uint16) if parts else np.empty(0, np.uint16)

    def require_in_place(self) -> None:
        """Raise StateError if a forward pass has put others in their place."""
        known, now = set(map(id, self._found)), _buffers(self._model)
        new = [tensor for tensor in now if id(tensor) not in known]
        if new or len(now) < len(known):
            names = {id(tensor): name for name, tensor in self._model.named_buffers()}
            which = names.get(id(new[0])) if new else None
            raise StateError(
                f"A forward pass has put another tensor in the place of {which or 'a buffer of the model'}, or has "
                "made it new. With parallel.elastic buffers have to be registered before training, and changed in "
                "place: self.running.set_value(...)."
            )

    def keep(self, changed: Any, words: np.ndarray, shares: int) -> None:
        """Take on what the step has made of them, given the sum over the shares that had samples."""
        if self._start is not None:
            flat = changed if shares == 1 else self._start + changed / shares
            for tensor, part in zip(self.floats, paddle.split(flat, [tensor.size for tensor in self.floats])):
                tensor.set_value(part.reshape(tensor.shape).astype(tensor.dtype))
        values = words.astype(np.uint16).view(np.int64)
        for tensor in self.whole:
            own, values = values[: tensor.size], values[tensor.size :]
            tensor.set_value(paddle.to_tensor(own.reshape(tensor.shape)).astype(tensor.dtype))


def _buffers(model: paddle.nn.Layer) -> list[paddle.Tensor]:
    # Weight and spectral norm compute a weight anew in each pass, and keep it among the buffers.
    derived = {
        id(layer._buffers.get(hook.name))
        for layer in model.sublayers(include_self=True)
        for hook in _hooks_of(layer)
        if isinstance(hook, _NORM_HOOKS)
    }
    found = [tensor for tensor in per_process_statistics(model) if id(tensor) not in derived]
    # An LSTM has one without memory until a GPU needs it.
    return [tensor for tensor in found if tensor._is_initialized() and tensor.size]


def _hooks_of(layer: Any) -> list[Any]:
    return list(layer._forward_pre_hooks.values())


def _flat(tensors: Sequence[paddle.Tensor], dtype: Any) -> paddle.Tensor:
    return paddle.concat([tensor.reshape([-1]).astype(dtype) for tensor in tensors])
