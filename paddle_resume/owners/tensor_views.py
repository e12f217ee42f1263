"""Tensors seen as NumPy arrays without a copy, and filled so that they own their memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import paddle

from paddle_resume.owners.device_copies import device_copies


class KeptViews:
    """The views of one owner's tensors, kept for its next save: to make them takes most of a save of many small ones.

    One is given again only while the same tensor lies where it lay, in the same form; what its values are does not
    matter. Until the next save it keeps that memory from being another's.
    """

    def __init__(self) -> None:
        self._kept: list[_Kept] = []
        self._forms: list[tuple[Any, ...]] = []
        """Of those kept; empty if not all of the last time were."""

    def of(self, tensors: Mapping[str, paddle.Tensor]) -> dict[str, np.ndarray]:
        """The values of all of them, each as `view` gives it.

        Copies from a GPU go to pinned memory, as `device_copies` has them.
        """
        now = [*tensors.values()]
        if self._forms and self._are(now) and _forms(now) == self._forms:
            return dict(zip(tensors, [kept.array for kept in self._kept]))
        with device_copies.side_by_side():
            arrays = self._look(now)
        return dict(zip(tensors, arrays))

    def _are(self, now: list[paddle.Tensor]) -> bool:
        return len(now) == len(self._kept) and all(kept.tensor is tensor for kept, tensor in zip(self._kept, now))

    def _look(self, now: list[paddle.Tensor]) -> list[np.ndarray]:
        """Make those views anew that were not kept, or are of another form by now."""
        before = {id(kept.tensor): kept for kept in self._kept}
        arrays, self._kept = [], []
        for tensor in now:
            kept = before.get(id(tensor))
            if kept is None or _forms([tensor]) != [kept.form]:
                array = view(tensor, overlap=True)
                is_in_place = tensor.place.is_cpu_place() and not tensor.is_dist()
                is_in_place = is_in_place and array.ctypes.data == tensor.data_ptr()
                kept = _Kept(tensor, _forms([tensor])[0], array) if is_in_place else None
            else:
                array = kept.array
            arrays.append(array)
            self._kept += [kept] if kept is not None else []
        self._forms = [kept.form for kept in self._kept] if len(self._kept) == len(now) else []
        return arrays


class _Kept(NamedTuple):
    tensor: paddle.Tensor
    form: tuple[Any, ...]
    array: np.ndarray


def _forms(tensors: list[paddle.Tensor]) -> list[tuple[Any, ...]]:
    """Where each lies, and how its values are to be read there."""
    return [*zip(map(_ADDRESS, tensors), map(_SHAPE, tensors), map(_DTYPE, tensors), map(_IS_CONTIGUOUS, tensors))]


_TENSOR: Any = paddle.Tensor
_ADDRESS, _IS_CONTIGUOUS = _TENSOR.data_ptr, _TENSOR.is_contiguous
_SHAPE, _DTYPE = _TENSOR.shape.__get__, _TENSOR.dtype.__get__


def views(tensors: Mapping[str, paddle.Tensor]) -> dict[str, np.ndarray]:
    """The values of all of them, each as `view` gives it, with nothing kept."""
    found = KeptViews().of(tensors)
    device_copies.wait()
    return found


def view(tensor: paddle.Tensor, overlap: bool = False) -> np.ndarray:
    """The tensor's values as an array: on CPU its own memory, to read; else a copy on the host.

    With `overlap`, a copy from a GPU may still be on its way: `device_copies` waits for it. bfloat16 comes as uint16.
    Of a tensor on a mesh of processes it is the part that this one holds.
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
    if not tensor.is_contiguous() or not tensor.place.is_cpu_place() or tensor.is_dist():
        return not view(tensor).any()
    place = tensor.data_ptr(), int(math.prod(tensor.shape)) * tensor.element_size()
    memory = _memory.get(place)
    if memory is None:
        if not all(place):
            return not view(tensor).any()
        if len(_memory) >= _MOST_KEPT:
            _memory.clear()
        block: Any = (ctypes.c_ubyte * place[1]).from_address(place[0])
        memory = _memory[place] = np.frombuffer(block, np.bool_)
    # A negative zero has a bit that is none.
    return not np.count_nonzero(memory) or not view(tensor).any()


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
