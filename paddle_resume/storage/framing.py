"""The pickle around raw tensor bytes, emitted directly, so that each tensor lies at a known offset in the file.

Stock `paddle.load` reads the result under NumPy 1 and 2: protocol 4, `numpy.core.multiarray._reconstruct`
(the name that both know), then BUILD with the raw bytes as one BINBYTES8. The opcodes are those documented in
the standard library's `pickletools`. Nothing in this package ever unpickles these files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Union

import numpy as np
import xxhash

from paddle_resume.errors import StateError

_PROTOCOL_4, _STOP = b"\x80\x04", b"."
_MARK, _EMPTY_DICT, _SETITEMS, _EMPTY_LIST, _APPENDS = b"(", b"}", b"u", b"]", b"e"
_RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"

Segment = Union[bytes, np.ndarray]


def digest(data: Any) -> str:
    """xxh3_128 of the bytes of `data`, in hex."""
    return xxhash.xxh3_128_hexdigest(data)


class FramedFile:
    """A dict of arrays (and plain values for stock Paddle) as the segments of one pickle file.

    The arrays are not copied: they are digested and written from where they lie.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._segments: list[tuple[int | None, Segment]] = []
        self._arrays: list[tuple[str, int, np.ndarray]] = []
        self.size = 0
        self._emit(_PROTOCOL_4 + _EMPTY_DICT + _MARK)
        for name, value in content.items():
            self._emit(_plain(name))
            if isinstance(value, np.ndarray):
                self._emit_array(name, value)
            elif isinstance(value, Mapping) and any(isinstance(v, np.ndarray) for v in value.values()):
                self._emit_group(name, value)
            else:
                self._emit(_plain(value))
        self._emit(_SETITEMS + _STOP)

    def tensors(self) -> list[dict[str, Any]]:
        """Where each tensor lies in the file: name, offset, length, dtype, shape."""
        return [
            {
                "name": name,
                "offset": offset,
                "length": array.nbytes,
                "dtype": array.dtype.str,
                "shape": list(array.shape),
            }
            for name, offset, array in self._arrays
        ]

    def parts(self) -> Iterator[tuple[int | None, memoryview]]:
        """The file's bytes in order, without copying: framing with None, a tensor with its number in `tensors`."""
        for number, segment in self._segments:
            yield number, memoryview(segment) if isinstance(segment, bytes) else segment.reshape(-1).view(np.uint8).data

    def chunks(self) -> Iterator[memoryview]:
        """The file's bytes in order, without copying."""
        for _, part in self.parts():
            yield part

    def _emit(self, framing: bytes) -> None:
        last = self._segments[-1][1] if self._segments else None
        if isinstance(last, bytes):
            self._segments[-1] = (None, last + framing)
        else:
            self._segments.append((None, framing))
        self.size += len(framing)

    def _emit_group(self, group: str, members: Mapping[str, Any]) -> None:
        """A dict of arrays one level down, such as Paddle's `master_weights`; indexed as `group/member`."""
        self._emit(_EMPTY_DICT + _MARK)
        for name, array in members.items():
            self._emit(_plain(name))
            self._emit_array(f"{group}/{name}", array)
        self._emit(_SETITEMS)

    def _emit_array(self, name: str, array: np.ndarray) -> None:
        if array.dtype.kind not in "biufc":
            raise StateError(f"Tensor {name!r} has dtype {array.dtype}, which has no raw byte form.")
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        kind = _plain(f"{array.dtype.kind}{array.dtype.itemsize}")
        order = "<" if array.dtype.itemsize > 1 else "|"
        dtype = b"cnumpy\ndtype\n" + kind + b"\x89\x88\x87R"
        dtype += b"(K\x03" + _plain(order) + b"NNN" + _plain(-1) * 2 + b"K\x00tb"
        self._emit(_RECONSTRUCT + b"(K\x01" + _plain(tuple(array.shape)) + dtype + b"\x89")
        self._emit(b"\x8e" + struct.pack("<Q", array.nbytes))
        self._arrays.append((name, self.size, array))
        if array.nbytes:
            self._segments.append((len(self._arrays) - 1, array))
            self.size += array.nbytes
        self._emit(b"tb")


def _plain(value: Any) -> bytes:
    """Opcodes of a plain value: None, bool, int, float, str, and tuples, lists and dicts of them."""
    if value is None:
        return b"N"
    if isinstance(value, (bool, np.bool_)):
        return b"\x88" if value else b"\x89"
    if isinstance(value, (int, np.integer)):
        raw = int(value).to_bytes(int(value).bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + struct.pack("<B", len(raw)) + raw
    if isinstance(value, (float, np.floating)):
        return b"G" + struct.pack(">d", float(value))
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, tuple):
        return _MARK + b"".join(map(_plain, value)) + b"t"
    if isinstance(value, list):
        return _EMPTY_LIST + _MARK + b"".join(map(_plain, value)) + _APPENDS
    if isinstance(value, Mapping):
        items = b"".join(_plain(k) + _plain(v) for k, v in value.items())
        return _EMPTY_DICT + _MARK + items + _SETITEMS
    raise StateError(f"A value of type {type(value).__name__} cannot be written for stock Paddle: {value!r}.")
