"""Tensors seen as NumPy arrays without a copy, and filled so that they own their memory."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle


def views(tensors: Mapping[str, paddle.Tensor]) -> dict[str, np.ndarray]:
    """The values of all of them, each as `view` gives it.

    Copies from a GPU go to pinned memory side by side, with one wait for all.
    """
    arrays = {name: view(tensor, overlap=True) for name, tensor in tensors.items()}
    if paddle.device.get_device().startswith("gpu"):
        paddle.device.synchronize()
    return arrays


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
