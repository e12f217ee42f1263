"""Tensors seen as NumPy arrays without a copy, and filled so that they own their memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import paddle


def views(tensors: Mapping[str, paddle.Tensor]) -> dict[str, np.ndarray]:
    """The values of all of them, each as `view` gives it.

    Copies from a GPU go to pinned memory side by side, with one wait for all. A view of a tensor's own memory is kept
    for the next time, since a save of many small tensors would take most of its time to make them.
    """
    arrays = {name: _kept_view(tensor) for name, tensor in tensors.items()}
    if paddle.device.get_device().startswith("gpu"):
        paddle.device.synchronize()
    return arrays


def _kept_view(tensor: paddle.Tensor) -> np.ndarray:
    kept = _kept.get(id(tensor))
    if kept is not None and kept.is_of(tensor):
        return kept.array
    array = view(tensor, overlap=True)
    if tensor.place.is_cpu_place() and not tensor.is_dist() and array.ctypes.data == tensor.data_ptr():
        key = id(tensor)
        gone = weakref.ref(tensor, lambda _: _kept.pop(key, None))
        _kept[key] = _Kept(gone, tensor.data_ptr(), tensor.dtype, list(array.shape), array)
    return array


class _Kept(NamedTuple):
    """A view of a tensor, which keeps the memory from being another's as long as the tensor lives."""

    tensor: weakref.ref[paddle.Tensor]
    address: int
    dtype: Any
    shape: list[int]
    array: np.ndarray

    def is_of(self, tensor: paddle.Tensor) -> bool:
        """Whether the tensor still lies there, in this form; what its values are does not matter."""
        dtype = tensor.dtype
        return (
            self.tensor() is tensor
            and tensor.data_ptr() == self.address
            and tensor.shape == self.shape
            and (dtype is self.dtype or dtype == self.dtype)  # Paddle takes long to compare them.
            and tensor.is_contiguous()
        )


_kept: dict[int, _Kept] = {}


def view(tensor: paddle.Tensor, overlap: bool = False) -> np.ndarray:
    """The tensor's values as an array: on CPU its own memory, to read; else a copy on the host.

    With `overlap`, a copy from a GPU may still be on its way: `views` waits for it. bfloat16 comes as uint16. Of a
    tensor on a mesh of processes it is the part that this one holds.
    """
    tensor = local_part(tensor.detach())
    if overlap and tensor.place.is_gpu_place() and tensor.is_contiguous():
        with contextlib.suppress(RuntimeError, BufferError):  # bfloat16: copied at once
            return np.from_dlpack(_Exporter(tensor.pin_memory(False)))
    if not tensor.place.is_cpu_place() or not tensor.is_contiguous():
        return tensor.numpy()
    try:
        array = np.from_dlpack(_Exporter(tensor))
    except (RuntimeError, BufferError):  # NumPy does not know bfloat16.
        return tensor.numpy()
    # Paddle 2.6 exports a bool tensor as uint8.
    return array.view(np.bool_) if array.dtype == np.uint8 and tensor.dtype == paddle.bool else array


def is_zero(tensor: paddle.Tensor) -> bool:
    """Whether each of its values is zero: faster than by a view, for gradients are new tensors each time."""
    address = tensor.data_ptr() if tensor.place.is_cpu_place() and not tensor.is_dist() else 0
    if not address or not tensor.is_contiguous():
        return not view(tensor).any()
    size = int(math.prod(tensor.shape) * tensor.element_size())
    memory = _memory.get((address, size))
    if memory is None:
        if len(_memory) >= _MOST_KEPT:
            _memory.clear()
        block: Any = (ctypes.c_ubyte * size).from_address(address)
        memory = np.frombuffer(block, np.bool_)
        _memory[address, size] = memory
    # A negative zero has a bit that is none.
    return not memory.any() or not view(tensor).any()


_memory: dict[tuple[int, int], np.ndarray] = {}
"""By address and size the bytes there, whose owner may be gone: they are read only while a tensor has them."""
_MOST_KEPT = 10_000


def local_part(tensor: paddle.Tensor) -> paddle.Tensor:
    """What this process holds of a tensor, sharing its memory; all of one that is on no mesh."""
    return tensor._local_value() if tensor.is_dist() else tensor


def fill(tensor: paddle.Tensor, array: np.ndarray) -> None:
    """Give `tensor` the values of `array`; the two never share memory afterwards."""
    if tensor.place.is_cpu_place() and tensor.is_contiguous() and hasattr(tensor, "__dlpack__"):
        with contextlib.suppress(RuntimeError, BufferError):  # bfloat16
            memory = np.from_dlpack(tensor.detach())
            # NumPy 1 gives a view that may only be read; else this is one copy instead of two.
            if memory.flags.writeable and memory.dtype == array.dtype:
                np.copyto(memory, array)
                return
    tensor.set_value(paddle.to_tensor(array, dtype=tensor.dtype, place=tensor.place))


def first_non_finite(model: paddle.nn.Layer) -> str | None:
    """The name of the first parameter that holds a NaN or an infinite value, or None; reads each once."""
    for name, parameter in model.named_parameters():
        values = view(parameter)
        # A sum is finite only if every value is, and costs no array of flags; float64 cannot overflow here.
        if values.dtype.kind == "f" and not np.isfinite(values.sum(dtype=np.float64)):
            return name
    return None


class _Exporter:
    """DLPack's protocol as Paddle 2.6, whose tensors offer only the function, lacks it; quicker than that of 3.x."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: paddle.Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **_: Any) -> Any:
        return paddle.utils.dlpack.to_dlpack(self._tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)
