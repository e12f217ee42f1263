"""Files in torch's two formats, written without torch, opcode by opcode: what its own `torch.save` would write."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

STORAGES = {
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<f2": "HalfStorage",
    "<u2": "BFloat16Storage",
    "<i8": "LongStorage",
    "<i4": "IntStorage",
    "<i2": "ShortStorage",
    "|i1": "CharStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
    "<c8": "ComplexFloatStorage",
}
PROTOCOL_2, STOP = b"\x80\x02", b"."
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + struct.pack("<B", len(raw)) + raw


def numbers(values: Any) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str, key: str, count: int, legacy: bool = False, view: bytes = b"N") -> bytes:
    """The persistent id of a storage."""
    return b"(" + text("storage") + kind.encode() + text(key) + text("cpu") + number(count) + view * legacy + b"tQ"


def tensor(pid: bytes, offset: int, shape: Any, strides: Any) -> bytes:
    """A call of `_rebuild_tensor_v2`."""
    where = pid + number(offset) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + b"\x89" + ORDERED_DICT + b"tR"


class TorchWriter:
    """The pickle of a value whose arrays are tensors, and the storages that it speaks of."""

    def __init__(self, legacy: bool = False) -> None:
        self.legacy = legacy
        self.storages: dict[str, np.ndarray] = {}

    def value(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            key = str(len(self.storages))
            self.storages[key] = np.ascontiguousarray(value).reshape(value.shape)
            kind = f"ctorch\n{STORAGES[value.dtype.str]}\n"
            strides = [stride // value.itemsize for stride in self.storages[key].strides]
            return tensor(storage(kind, key, value.size, self.legacy), 0, value.shape, strides)
        if isinstance(value, Mapping):
            items = b"".join(self.value(k) + self.value(v) for k, v in value.items())
            metadata = b"}" + text("_metadata") + b"}sb"
            return ORDERED_DICT + b"(" + items + b"u" + metadata
        if isinstance(value, list):
            return b"](" + b"".join(map(self.value, value)) + b"e"
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            return number(value)
        return b"N" if value is None else text(value)


def write_zip(
    path: Path,
    pickled: bytes,
    storages: Optional[Mapping[str, bytes]] = None,
    *,
    compression: int = zipfile.ZIP_STORED,
    more: Optional[Mapping[str, bytes]] = None,
) -> Path:
    entries = {"data.pkl": pickled, "byteorder": b"little", **(more or {}), "version": b"3\n"}
    entries.update({f"data/{key}": raw for key, raw in (storages or {}).items()})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, raw in entries.items():
            archive.writestr(f"archive/{name}", raw)
    return path


def torch_zip(path: Path, content: Any) -> Path:
    """`content` (dicts, lists, plain values, arrays; uint16 as bfloat16) as torch has saved it since 1.6."""
    writer = TorchWriter()
    pickled = PROTOCOL_2 + writer.value(content) + STOP
    return write_zip(path, pickled, {key: array.tobytes() for key, array in writer.storages.items()})


def write_legacy(path: Path, pickled: bytes, storages: Mapping[str, np.ndarray]) -> Path:
    system = b"}(" + text("protocol_version") + number(1001) + text("little_endian") + b"\x88u"
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    parts = [number(0x1950A86A20F9469CFC6C), number(1001), system, pickled, keys]
    raw = b"".join(PROTOCOL_2 + part + STOP for part in parts)
    for array in storages.values():
        raw += struct.pack("<q", array.size) + array.tobytes()
    path.write_bytes(raw)
    return path


def torch_legacy(path: Path, content: Any) -> Path:
    """The same as torch has saved it before 1.6."""
    writer = TorchWriter(legacy=True)
    return write_legacy(path, writer.value(content), writer.storages)
