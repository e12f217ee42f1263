"""Scalars and pictures as VisualDL records, written synchronously so that a cursor can be exact.

VisualDL's own LogWriter hands records to a thread, prints when its file exists, and begins every continuation
with another meta record; here its records go into the same file format without it: for each record the
length as 8 bytes, little-endian, and the serialized protocol buffer; the first one is the meta record.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from paddle_resume.errors import ConfigError
from paddle_resume.loggers.cursor import Logger

_LENGTH = struct.Struct("<Q")


class VisualDLLogger(Logger):
    """Writes `<folder>/vdlrecords.<name>.log`, the file that `visualdl --logdir` shows.

    VisualDL stores a value as float32: a Python float is rounded to the nearest one, a float32 is kept
    exactly. Its server shows one file per folder, the last by name.
    """

    def __init__(self, folder: str | Path, name: str) -> None:
        super().__init__(Path(folder) / f"vdlrecords.{name}.log")

    def _header(self) -> bytes:
        from visualdl.component.base_component import meta_data

        return _frame(meta_data(walltime=_milliseconds()).SerializeToString())

    def log_image(self, tag: str, image: np.ndarray, step: int) -> None:
        """Log a picture, uint8 [H, W, 3], as a PNG at `step`; raises ConfigError for a tag with a '%'."""
        from PIL import Image
        from visualdl.proto.record_pb2 import Record

        self._require_plain(tag)
        # Not VisualDL's own encoder: with OpenCV installed that one swaps red and blue, and its bytes depend on it.
        png = io.BytesIO()
        Image.fromarray(image).save(png, format="png")
        picture = Record.Image(encoded_image_string=png.getvalue())
        value = Record.Value(id=int(step), tag=tag, timestamp=_milliseconds(), image=picture)
        self._append(_frame(Record(values=[value]).SerializeToString()))

    def _encode(self, scalars: Mapping[str, float], step: int) -> bytes:
        from visualdl.component.base_component import scalar

        for tag in scalars:
            self._require_plain(tag)
        walltime = _milliseconds()
        return b"".join(
            _frame(scalar(tag, value, int(step), walltime).SerializeToString()) for tag, value in scalars.items()
        )

    def _require_plain(self, tag: str) -> None:
        if "%" in tag:
            raise ConfigError(f"{self._path}: VisualDL reads the '%' in the tag {tag!r} as '/'; leave it out.")

    def _whole(self, data: bytes) -> int:
        return sum(_LENGTH.size + len(payload) for payload in _payloads(data))


def read_scalars(path: str | Path) -> dict[str, list[tuple[int, float, str]]]:
    """Each tag's (step, value, the value's float32 bits in hex) in file order, without the wall-clock.

    A last record that is still being written is left out.
    """
    from visualdl.proto.record_pb2 import Record

    scalars: dict[str, list[tuple[int, float, str]]] = {}
    for payload in _payloads(Path(path).read_bytes()):
        for item in Record.FromString(payload).values:
            if item.WhichOneof("one_value") == "value":
                bits = struct.pack(">f", item.value).hex()
                scalars.setdefault(item.tag, []).append((item.id, item.value, bits))
    return scalars


def read_images(path: str | Path) -> dict[str, list[tuple[int, bytes]]]:
    """Each picture's (step, PNG file) by tag in file order; a last record that is still being written is left out."""
    from visualdl.proto.record_pb2 import Record

    images: dict[str, list[tuple[int, bytes]]] = {}
    for payload in _payloads(Path(path).read_bytes()):
        for item in Record.FromString(payload).values:
            if item.WhichOneof("one_value") == "image":
                images.setdefault(item.tag, []).append((item.id, item.image.encoded_image_string))
    return images


def _frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


def _payloads(data: bytes) -> Iterator[bytes]:
    start = _LENGTH.size
    while start <= len(data):
        (length,) = _LENGTH.unpack_from(data, start - _LENGTH.size)
        if start + length > len(data):
            return
        yield data[start : start + length]
        start += length + _LENGTH.size


def _milliseconds() -> int:
    # As a protocol buffer's varint this has 6 bytes until the year 2109: a rewritten record keeps its length.
    return round(time.time() * 1000)
