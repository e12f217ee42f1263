"""Paddle tensors: values, gradient, `stop_gradient`, and the attributes of parameters.

Values and gradient may be another owner's, as those of the model are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import paddle
import xxhash
from paddle.base.framework import EagerParamBase

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.grad_hooks import hooks_of, set_hooks
from paddle_resume.found_state.leaves import DTYPES, dtype_name
from paddle_resume.found_state.object_kinds import ObjectKind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource, raw_bytes
from paddle_resume.owners.tensor_views import fill, is_zero, view

_NONE, _CLAIMED, _VALUES = "uninitialised", "claimed", "values"
_ZEROS = "zeros"  # a gradient as `clear_grad` leaves it


_MOST_ROOM = 1 << 30  # bytes for a tensor that another owner fills


class Held(NamedTuple):
    """What a record says of a tensor; `array` is None if its values are an owner's, or if it has none."""

    dtype: Any
    shape: tuple[int, ...]
    stop_gradient: bool
    persistable: bool
    array: Optional[np.ndarray]
    is_initialised: bool
    gradient: Union[np.ndarray, str, None]


_HOOK = "hook "  # with its number: the label of what is called with the gradient


class TensorKind(ObjectKind):
    """A tensor or a parameter, dense and on one device; of a parameter also the hooks on its gradient."""

    def __init__(self, cls: type) -> None:
        super().__init__(cls)
        self.is_parameter = issubclass(cls, EagerParamBase)
        self.tag = "parameter" if self.is_parameter else "tensor"
        self.types = (cls,) if cls in (paddle.Tensor, EagerParamBase) else ()

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        held = self.dict_of(thing) if self.dict_of is not None else None
        hooks = hooks_of(thing) if self.is_parameter else None
        if hooks:
            held = {**(held or {}), **{f"{_HOOK}{number}": hook for number, hook in hooks.items()}}
        objects = [*held, *held.values()] if held else []
        detail = ((thing.stop_gradient, thing.persistable), thing.dtype, tuple(thing.shape))
        if id(thing) in claimed.tensors:
            return objects, detail
        return objects, (*detail, _digest(thing), _digest(_gradient(thing)), thing._is_initialized())

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        described = [dtype_name(thing.dtype), list(thing.shape), thing.stop_gradient, thing.persistable]
        if not thing._is_initialized():
            return [*described, _NONE, None]
        if id(thing) in claimed.tensors:
            return [*described, _CLAIMED, None]
        if thing.is_dist():
            raise Problem("a tensor that is split over a mesh and belongs to neither the model nor the optimizer")
        described += [_VALUES, sink.put(path, _array(thing))]
        gradient = _gradient(thing)
        if gradient is None:
            return described
        return [*described, _ZEROS if is_zero(gradient) else sink.put(f"{path}.grad", _array(gradient))]

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) not in (6, 7):
            raise Problem("a tensor comes with dtype, shape, two flags, its values and perhaps a gradient")
        dtype, shape, stop_gradient, persistable, what, where, *gradients = saved
        found = getattr(paddle, dtype, None) if type(dtype) is str and dtype.isidentifier() else None
        if not isinstance(found, DTYPES) or dtype_name(found) != dtype:
            raise Problem(f"Paddle has no dtype {str(dtype)[:40]!r}")
        if type(shape) is not list or len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
            raise Problem(f"there is no tensor of shape {str(shape)[:80]}")
        if type(stop_gradient) is not bool or type(persistable) is not bool or what not in (_NONE, _CLAIMED, _VALUES):
            raise Problem("a tensor has two flags, and says where its values are")
        array = source.get(where) if what == _VALUES else None
        gradient = None if not gradients else _ZEROS if gradients[0] == _ZEROS else source.get(gradients[0])
        for each in (array, gradient):
            if isinstance(each, np.ndarray) and (list(each.shape) != shape or each.dtype != _numpy_type(found)):
                raise Problem(f"a tensor of {dtype} {shape} is not an array of {each.dtype} {list(each.shape)}")
        return Held(found, tuple(shape), stop_gradient, persistable, array, what != _NONE, gradient)

    def fits(self, thing: Any, held: Any) -> str:
        if thing.dtype != held.dtype:
            return f"its dtype was {dtype_name(held.dtype)} and is {dtype_name(thing.dtype)}"
        is_small = thing.size * held.array.itemsize < 1 << 20 if held.array is not None else True
        # A scratch tensor, such as the one of an LSTM, takes another shape in its first use.
        if tuple(thing.shape) != held.shape and (self.is_parameter or held.array is None or not is_small):
            return f"its shape was {list(held.shape)} and is {list(thing.shape)}"
        return ""

    def new(self, cls: type, held: Any) -> Any:
        size = math.prod(held.shape) * _numpy_type(held.dtype).itemsize
        if held.array is None and size > _MOST_ROOM:
            raise Problem(f"a tensor of shape {list(held.shape)} without values is larger than any that is made")
        made: Any
        if self.is_parameter:
            made = EagerParamBase(list(held.shape), held.dtype, trainable=not held.stop_gradient)
            made.value().get_tensor().set(np.zeros(held.shape, _numpy_type(held.dtype)), _place())
        elif not held.is_initialised:
            made = paddle.Tensor(dtype=held.dtype) if held.shape == () else paddle.empty(held.shape, held.dtype)
        else:
            made = paddle.zeros(held.shape, held.dtype)
        return made

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        given = dict(zip(labels or (), values))
        hooks = {name: given.pop(name) for name in list(given) if name.startswith(_HOOK)}
        super().write(thing, list(given), list(given.values()), held)
        if self.is_parameter:
            set_hooks(thing, {int(name[len(_HOOK) :]): hook for name, hook in hooks.items()})
        if held.array is not None:
            if tuple(thing.shape) != held.shape or not thing._is_initialized():
                thing.value().get_tensor().set(held.array, _place())
            elif thing.size:
                fill(thing, held.array)
        if thing.stop_gradient != held.stop_gradient:
            thing.stop_gradient = held.stop_gradient
        if thing.persistable != held.persistable:
            thing.persistable = held.persistable
        if held.array is not None:
            _set_gradient(thing, held.gradient)

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        super().remove(thing, [name for name in labels if not name.startswith(_HOOK)])  # `write` has removed hooks.

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        for name, value in zip(labels or (), values):
            if type(name) is str and name.startswith(_HOOK) and not (name[len(_HOOK) :].isdigit() and callable(value)):
                return "a hook has a number, and is called"
        return super().refuses(labels, values, thing)

    def told(self, thing: Any) -> str:
        return f"a tensor of {dtype_name(thing.dtype)} {list(thing.shape)}"

    def is_of(self, cls: type) -> bool:
        return cls in self.types


def forms_of(tensors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What `read` tells of tensors whose values are an owner's, of many at once: two flags, dtype and shape."""
    return [*zip(map(_STOPS, tensors), map(_PERSISTS, tensors), map(_DTYPE, tensors), map(_SHAPE, tensors))]


_TENSOR: Any = paddle.Tensor
_STOPS, _PERSISTS = _TENSOR.stop_gradient.__get__, _TENSOR.persistable.__get__
_DTYPE, _SHAPE = _TENSOR.dtype.__get__, _TENSOR.shape.__get__


def has_values(tensor: paddle.Tensor) -> bool:
    """Whether there is anything to read; Paddle makes some tensors without memory, and fails when they are read."""
    return bool(tensor._is_initialized()) and tensor.size > 0


def _array(tensor: paddle.Tensor) -> np.ndarray:
    return view(tensor) if has_values(tensor) else np.empty(tuple(tensor.shape), _numpy_type(tensor.dtype))


def _digest(tensor: Optional[paddle.Tensor]) -> Optional[bytes]:
    if tensor is None or not has_values(tensor):
        return None
    return xxhash.xxh3_128_digest(raw_bytes(np.ascontiguousarray(view(tensor))))


def _gradient(tensor: paddle.Tensor) -> Optional[paddle.Tensor]:
    gradient = tensor.grad if tensor._is_initialized() else None
    if gradient is not None and (gradient.is_selected_rows() or gradient.dtype != tensor.dtype):
        raise Problem("a sparse gradient, or one of another dtype, that no owner of the model's gradients saves")
    return gradient


def _set_gradient(tensor: paddle.Tensor, wanted: Union[np.ndarray, str, None]) -> None:
    if wanted is None:
        if tensor.grad is not None:
            tensor.clear_gradient(False)
        return
    tensor.grad = paddle.zeros(tensor.shape, tensor.dtype)
    if isinstance(wanted, np.ndarray) and wanted.size:
        fill(tensor.grad, wanted)


def _numpy_type(dtype: Any) -> np.dtype:
    name = dtype_name(dtype)
    return np.dtype(np.uint16 if name == "bfloat16" else name)  # as Paddle shows it


def _place() -> Any:
    return paddle.framework._current_expected_place()
