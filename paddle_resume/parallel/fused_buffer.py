"""All that the shares of an elastic step add up, between processes as one flat tensor: gradients, buffers, and loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.parallel.exchange import Exchange
from paddle_resume.parallel.shared_buffers import SharedBuffers
from paddle_resume.parallel.step_agreement import TOLD

PRINT_WORDS = 8
"""Of each share, two numbers of 64 bits: what its data are, and where the generators stand after it."""


@dataclass(frozen=True)
class Sums:
    """What all have brought together: the loss, each share's two numbers of 64 bits, and what the processes told."""

    loss: paddle.Tensor
    prints: np.ndarray
    """uint64 [shares, 2]"""
    told: np.ndarray
    """[TOLD]"""


class FusedBuffer:
    """The layout of one step: gradients, buffers, loss; then marks, words of whole numbers, fingerprints, what is told.

    A mark says that a parameter has a gradient: an optimizer passes over one without. It is float32, or float64 where
    a parameter or a buffer is.

    Args:
        parameters: whose gradients are added up.
        others: trained by no optimizer; what comes as their gradient is dropped.
        told: what this process tells the others [TOLD], if it does.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        parameters: Sequence[paddle.Tensor],
        others: Sequence[paddle.Tensor],
        shares: int,
        told: Optional[Sequence[float]] = None,
    ) -> None:
        tensors = [*parameters, *model.buffers()]
        self.dtype: Any = "float64" if any(tensor.dtype == paddle.float64 for tensor in tensors) else "float32"
        self._parameters = parameters
        self._others = others
        self._shares = shares
        self._told = told
        self.buffers = SharedBuffers(model, self.dtype)
        self._had = [parameter.grad is not None for parameter in parameters]
        self._sizes = [*(parameter.size for parameter in parameters), *([self.buffers.size] * bool(self.buffers.size))]
        self._tail = len(parameters) + self.buffers.words + shares * PRINT_WORDS + TOLD
        self._sizes += [1, self._tail]
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Have none, so that the next backward pass makes those of its own share."""
        for parameter in (*self._parameters, *self._others):
            parameter.clear_gradient(False)

    def nothing(self) -> list[paddle.Tensor]:
        """What a share without samples adds."""
        return [*(paddle.zeros([size], self.dtype) for size in self._sizes[:-1]), paddle.to_tensor(self._new_tail())]

    def empty(self) -> paddle.Tensor:
        """Room for a part as one tensor."""
        return paddle.empty([sum(self._sizes)], self.dtype)

    def part(
        self, loss: paddle.Tensor, share: int, prints: Optional[tuple[int, int]], *, first: bool, only: bool
    ) -> list[paddle.Tensor]:
        """What a share adds that has gone through the model; `first` and `only` of those that have samples."""
        gradients = [
            # Reshaped it keeps its memory when the parameter's gradient is dropped.
            paddle.zeros([parameter.size], self.dtype)
            if parameter.grad is None
            else parameter.grad.reshape([-1]).astype(self.dtype)
            for parameter in self._parameters
        ]
        tail = self._new_tail()
        marks, words, own, _ = self._split(tail)
        marks[:] = [had or p.grad is not None for had, p in zip(self._had, self._parameters)]
        if first:
            words[:] = self.buffers.take_whole()
        if prints is not None:
            own[share * PRINT_WORDS : (share + 1) * PRINT_WORDS] = np.array(prints, np.uint64).view(np.uint16)
        one = loss.detach().reshape([1]).astype(self.dtype)
        return [*gradients, *self.buffers.changes(only), one, paddle.to_tensor(tail)]

    def flat(self, part: Sequence[paddle.Tensor]) -> paddle.Tensor:
        """A part as one tensor, to be exchanged."""
        return paddle.concat(list(part))

    def parted(self, flat: paddle.Tensor) -> list[paddle.Tensor]:
        """The part that such a tensor is."""
        return paddle.split(flat, self._sizes)

    def take(self, total: Sequence[paddle.Tensor], shares: int) -> Sums:
        """Give parameters and buffers what has come together from `shares` shares with samples."""
        *parts, loss, rest = total
        marks, words, prints, told = self._split(rest.numpy())
        for parameter, part, mark, had in zip(self._parameters, parts, marks, self._had):
            if mark or had:  # A parameter server has no gradients but those of the step before.
                parameter.grad = part.reshape(parameter.shape).astype(parameter.dtype)
        self.buffers.keep(parts[-1] if self.buffers.size else None, words, shares)
        return self._sums(loss, prints, told)

    def hand_out(self, exchange: Exchange, sums: Optional[Sums] = None, applied: bool = True) -> tuple[Sums, bool]:
        """Have all processes hold weights and buffers of the one that updates, and learn its sums and what it applied.

        Only that one gives them.
        """
        numbers = np.zeros(2 + TOLD + self._shares * PRINT_WORDS, self.dtype)
        if sums is not None:
            numbers[: 2 + TOLD] = float(sums.loss), applied, *sums.told
            numbers[2 + TOLD :] = sums.prints.reshape(-1).view(np.uint16)
        handed = paddle.to_tensor(numbers)
        exchange.hand_out([*self._parameters, *self.buffers.floats, *self.buffers.whole, handed])
        loss, was_applied, told, prints = np.split(handed.numpy(), [1, 2, 2 + TOLD])
        return self._sums(paddle.to_tensor(loss), prints, told), bool(was_applied)

    def _new_tail(self) -> np.ndarray:
        tail = np.zeros(self._tail, self.dtype)
        if self._told is not None:  # It is told once, with the first of this process's shares.
            tail[-TOLD:], self._told = self._told, None
        return tail

    def _split(self, tail: np.ndarray) -> list[np.ndarray]:
        """Marks, words, fingerprints, what is told."""
        count = len(self._parameters)
        return np.split(tail, [count, count + self.buffers.words, self._tail - TOLD])

    def _sums(self, loss: paddle.Tensor, prints: np.ndarray, told: np.ndarray) -> Sums:
        words = prints.astype(np.uint16)
        return Sums(loss.reshape([]).astype("float32"), words.view(np.uint64).reshape(self._shares, 2), told)
