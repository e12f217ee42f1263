"""Arrays and tensors made in the course of a run that lie in the memory of others: views, and detached copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import paddle

from paddle_resume.found_state.array_kinds import ArrayKind
from paddle_resume.found_state.kind import Kind, is_a
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySource
from paddle_resume.found_state.tensor_kind import TensorKind, has_values


class _Lies(NamedTuple):
    low: int
    high: int
    number: int
    node: Node


class SharedMemory:
    """Which of the new arrays and tensors share memory with which others."""

    def __init__(self, order: Sequence[Node]) -> None:
        self._bases: dict[int, Node] = {}
        if all(node.start is not None for node in order):
            return  # Those of the start share what the program lets them share.
        held = [node for node in order if isinstance(node.kind, (ArrayKind, TensorKind))]
        for group in _overlapping(sorted(filter(None, map(_place, range(len(held)), held)))):
            best = min(group, key=lambda lies: (lies.node.start is None, lies.low - lies.high, lies.number))
            for lies in group:
                if lies is not best and lies.node.start is None:
                    self._bases[id(lies.node.thing)] = best.node

    def base_of(self, node: Node) -> Optional[Node]:
        """Whose memory a new array or tensor lies in, or None if it has its own."""
        return self._bases.get(id(node.thing)) if self._bases else None


class ArrayViewKind(Kind):
    """An array in the memory of another one."""

    tag = "array view"
    types = (np.ndarray,)
    is_rewritten = False

    def describe(self, thing: np.ndarray, base: Any) -> list[Any]:
        """What a record says of it; raises Problem for a view that cannot be made again."""
        if not is_a(base, np.ndarray) or not base.flags.c_contiguous:
            raise Problem("it shares memory with another array or tensor; keep a copy instead")
        offset = thing.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        described = [thing.dtype.str, list(thing.shape), list(thing.strides), offset]
        self.build(np.ndarray, None, [base], self.check(described, ArraySource({})))
        return described

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) != 4 or type(saved[0]) is not str or type(saved[3]) is not int:
            raise Problem("a view comes with dtype, shape, strides and offset")
        dtype, shape, strides, offset = saved
        for row in (shape, strides):
            if type(row) is not list or len(row) > 32 or not all(type(n) is int and abs(n) < 1 << 40 for n in row):
                raise Problem("the shape of a view is damaged")
        source.get([dtype, [0], "C", np.empty(0, np.uint8)])  # which knows what dtypes there are
        return np.dtype(dtype), shape, strides, offset

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        dtype, shape, strides, offset = held
        if len(values) != 1 or type(values[0]) is not np.ndarray or dtype.hasobject:
            raise Problem("a view lies in the memory of one array")
        try:
            return np.ndarray(shape, dtype, values[0].data, offset, strides)  # NumPy checks that it lies inside
        except (ValueError, TypeError, BufferError) as error:
            raise Problem(f"it does not lie inside of that array ({error})") from error


class TensorViewKind(Kind):
    """A tensor in the memory of another one, as `detach()` gives it."""

    tag = "tensor view"
    types = (paddle.Tensor,)
    is_rewritten = False

    def describe(self, thing: Any, base: Any) -> list[Any]:
        """What a record says of it; raises Problem for a view that cannot be made again."""
        same = is_a(base, paddle.Tensor) and type(thing) is paddle.Tensor and thing.dtype == base.dtype
        if not same or thing.data_ptr() != base.data_ptr() or thing.size != base.size or not thing.is_contiguous():
            raise Problem("it shares memory with another tensor or array; keep a copy instead, as clone() gives it")
        return [list(thing.shape), thing.stop_gradient, thing.persistable]

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) != 3 or type(saved[1]) is not bool or type(saved[2]) is not bool:
            raise Problem("a view of a tensor comes with its shape and two flags")
        if type(saved[0]) is not list or not all(type(n) is int and 0 <= n < 1 << 40 for n in saved[0]):
            raise Problem("the shape of a view is damaged")
        return saved

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        shape, stop_gradient, persistable = held
        if len(values) != 1 or not is_a(values[0], paddle.Tensor):
            raise Problem("a view lies in the memory of one tensor")
        made = values[0].detach()
        if list(made.shape) != shape:
            with paddle.no_grad():
                made = made.reshape(shape)
        made.stop_gradient, made.persistable = stop_gradient, persistable
        return made


VIEWS: dict[type, Any] = {ArrayKind: ArrayViewKind(), TensorKind: TensorViewKind()}
"""The kind of view by the kind of what it would be otherwise."""


def _place(number: int, node: Node) -> Optional[_Lies]:
    thing = node.thing
    if is_a(thing, np.ndarray):
        low, high = _bounds(thing.__array_interface__["data"][0], thing.shape, thing.strides, thing.itemsize)
    elif has_values(thing) and thing.place.is_cpu_place() and thing.is_dense():
        size = thing.element_size()
        strides = [stride * size for stride in thing.strides] if not thing.is_contiguous() else None
        low = thing.data_ptr()
        high = low + thing.size * size if strides is None else _bounds(low, thing.shape, strides, size)[1]
    else:
        return None
    return _Lies(low, high, number, node) if high > low else None


def _bounds(low: int, shape: Any, strides: Any, size: int) -> tuple[int, int]:
    high = low + size
    for extent, stride in zip(shape, strides):
        if extent == 0:
            return low, low
        low += min(0, (extent - 1) * stride)
        high += max(0, (extent - 1) * stride)
    return low, high


def _overlapping(places: list[_Lies]) -> Iterator[list[_Lies]]:
    """Those that overlap with any other, in groups."""
    group: list[_Lies] = []
    high = -1
    for lies in places:
        if lies.low >= high:
            if len(group) > 1:
                yield group
            group = []
        group.append(lies)
        high = max(high, lies.high)
    if len(group) > 1:
        yield group
