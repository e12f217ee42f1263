"""The pickle in a file of `torch.save`, read without torch: a tensor becomes a note of where its bytes lie."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import numpy as np

from paddle_resume.storage.restricted_pickle import RestrictedUnpickler, counted
from paddle_resume.storage.safe_constructors import LARGEST, MAX_DIMENSIONS, Refused, SafeConstructor

_LARGEST = 1 << 62
# By torch's names; bfloat16 is uint16, as Paddle itself shows it. What is not here, Paddle cannot hold.
_DTYPES = {
    "float32": "<f4",
    "float64": "<f8",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "bool": "|b1",
    "complex64": "<c8",
    "complex128": "<c16",
}
_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_OTHER_DTYPES = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file under `key`; of its `total`, the `count` from `start` on."""

    key: str
    dtype: str
    total: int
    start: int
    count: int


@dataclass(frozen=True)
class Tensor:
    """Where a tensor's numbers lie in a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    dtype: str
    """By torch's name, such as bfloat16."""
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def known(self) -> bool:
        """Whether Paddle has this dtype."""
        return self.dtype in _DTYPES

    def array(self, raw: np.ndarray) -> np.ndarray:
        """The tensor as a view of its storage's bytes `raw`, uint8 [nbytes]; bfloat16 as uint16.

        Raises Refused for a tensor that reaches beyond them, or shows more numbers than there are.
        """
        dtype, storage = np.dtype(_DTYPES[self.dtype]), self.storage
        size = dtype.itemsize
        if len(raw) != storage.total * size or storage.start + storage.count > storage.total:
            raise Refused(f"a storage of {storage.total} numbers in {len(raw)} bytes")
        numbers = math.prod(self.shape)
        if numbers == 0:
            if math.prod(max(extent, 1) for extent in self.shape) >= LARGEST:  # NumPy counts so also here.
                raise Refused(f"an empty tensor of shape {list(self.shape)}")
            return np.empty(self.shape, dtype)
        last = self.offset + sum((extent - 1) * stride for extent, stride in zip(self.shape, self.strides))
        # More numbers than there are: an expanded tensor, which written out could fill any disk.
        if last >= storage.count or numbers > storage.count:
            raise Refused(f"a tensor of shape {list(self.shape)} in a storage of {storage.count} numbers")
        first = storage.start + self.offset
        values = raw[first * size : (storage.start + last + 1) * size].view(dtype)
        strides = tuple(stride * size for stride in self.strides)
        return np.lib.stride_tricks.as_strided(values, self.shape, strides, writeable=False)


class _StorageKind:
    """Stand-in for a class of storages; it is never called, only named in persistent ids."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Stand-in for `_rebuild_tensor` and `_rebuild_tensor_v2`."""
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    return _tensor(storage, storage.dtype, offset, shape, strides)


def _make_tensor_of(
    storage: Any, offset: Any, shape: Any, strides: Any, _: Any, hooks: Any, dtype: Any, *__: Any
) -> Any:
    """Stand-in for `_rebuild_tensor_v3`, by which torch writes dtypes that have no class of storages."""
    if not isinstance(storage, Storage) or type(dtype) is not str:
        raise Refused("a tensor without a storage or a dtype")
    return _tensor(storage, dtype.rpartition(".")[2], offset, shape, strides)


def _tensor(storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> Tensor:
    tensor = Tensor(storage, dtype, _count(offset), _counts(shape), _counts(strides))
    if len(tensor.strides) != len(tensor.shape):
        raise Refused("a tensor whose strides do not fit its shape")
    return tensor


def _make_parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise Refused(f"a parameter made of {type(data).__name__}")
    return data


def _make_device(kind: Any = "cpu", *_: Any) -> str:
    return kind if type(kind) is str else "cpu"


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise Refused("a tensor or storage whose place is no number of its file")
    return value


def _counts(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > MAX_DIMENSIONS:
        raise Refused("a tensor whose shape is something else")
    return tuple(map(_count, values))


def _make_namespace() -> dict[str, Any]:
    return {}


_NAMESPACE = SafeConstructor(_make_namespace)


class TorchUnpickler(RestrictedUnpickler):
    """Reads one pickle of torch's: numbers, texts, lists and dicts as they are, tensors as `Tensor`.

    Attributes of dicts (`_metadata` of a state dict) and of `argparse.Namespace` are passed over.
    """

    allowed: ClassVar[Mapping[tuple[str, str], Any]] = {
        **RestrictedUnpickler.allowed,
        ("torch._utils", "_rebuild_tensor"): SafeConstructor(_make_tensor),
        ("torch._utils", "_rebuild_tensor_v2"): SafeConstructor(_make_tensor),
        ("torch._utils", "_rebuild_tensor_v3"): SafeConstructor(_make_tensor_of),
        ("torch._utils", "_rebuild_parameter"): SafeConstructor(_make_parameter),
        ("torch._utils", "_rebuild_parameter_with_state"): SafeConstructor(_make_parameter),
        ("torch", "Size"): RestrictedUnpickler.allowed["builtins", "tuple"],
        ("torch", "device"): SafeConstructor(_make_device),
        ("torch.storage", "UntypedStorage"): _StorageKind("uint8"),
        ("argparse", "Namespace"): _NAMESPACE,
        **{("torch", name): _StorageKind(dtype) for name, dtype in _STORAGES.items()},
        **{("torch", name): f"torch.{name}" for name in (*_DTYPES, *_OTHER_DTYPES)},
    }

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file, size)
        self.nbytes: dict[str, int] = {}
        """How many bytes each storage that was met has, by its key."""

    def persistent_load(self, pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or type(pid[0]) is not str or pid[0] != "storage":
            raise Refused("a persistent id that is no storage")
        _, kind, key, _, total, *view = pid
        if not isinstance(kind, _StorageKind) or type(key) is not str:
            raise Refused("a persistent id that is no storage")
        total = _count(total)
        self.nbytes[key] = total * np.dtype(_DTYPES[kind.dtype]).itemsize
        if not view or view[0] is None:
            return Storage(key, kind.dtype, total, 0, total)
        # Files of the first versions of torch: part of another storage, as (its own key, start, count).
        if not isinstance(view[0], tuple) or len(view[0]) != 3:
            raise Refused("a view that is something else")
        return Storage(key, kind.dtype, total, _count(view[0][1]), _count(view[0][2]))

    def load_build(self) -> None:
        if type(self.stack[-2]) is dict and type(self.stack[-1]) is dict:
            self.stack.pop()
        else:
            super().load_build()

    def load_new_object(self) -> None:
        if len(self.stack) < 2 or self.stack[-2] is not _NAMESPACE or self.stack[-1] != ():
            self.load_instance()
        self.stack.pop()
        self.stack[-1] = _make_namespace()

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **RestrictedUnpickler.dispatch,
        **counted({pickle.BUILD[0]: load_build, pickle.NEWOBJ[0]: load_new_object}),
    }
