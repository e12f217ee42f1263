"""Scalars, histograms and images as VisualDL records, written synchronously so that a cursor can be exact.

VisualDL's own LogWriter hands records to a thread, prints when its file exists, and begins every continuation
with another meta record; here its records go into the same file format without it: for each record the
length as 8 bytes, little-endian, and the serialized protocol buffer; the first one is the meta record.
"""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Union

import numpy as np

from paddle_resume.checked_arguments import checked_class
from paddle_resume.errors import ConfigError, DataError
from paddle_resume.loggers.log_file import Logger
from paddle_resume.run_name import require_run_name
from paddle_resume.storage.durable_files import create_new, explain
from paddle_resume.storage.regular_files import read_regular

_LENGTH = struct.Struct("<Q")


@checked_class()
class VisualDLLogger(Logger):
    """Writes `<folder>/vdlrecords.<name>.log`, the file that `visualdl --logdir` shows.

    VisualDL stores a value as float32: a Python float is rounded to the nearest one, a float32 is kept
    exactly. Its server shows one file per folder, the last by name.
    """

    def __init__(self, folder: Union[str, Path], name: str) -> None:
        require_run_name(name)
        super().__init__(Path(folder) / f"vdlrecords.{name}.log")
        self.graph_path = self._path.with_name(f"vdlgraph.{name}.log")

    def log_histogram(self, tag: str, values: np.ndarray, step: int, buckets: int = 30) -> None:
        """Log how `values`, numbers of any shape, are spread over `buckets` of equal width from least to largest.

        Those that are NaN or infinite have no place in it; with no others nothing is logged. Raises ConfigError
        for a tag with a '%'.
        """
        finite = np.asarray(values, np.float64).reshape(-1)
        finite = finite[np.isfinite(finite)]
        if finite.size:
            counts, edges = np.histogram(finite, buckets, _range(finite))
            self._append(self._value(tag, step, histogram={"hist": counts.tolist(), "bin_edges": edges.tolist()}))

    def log_image(self, tag: str, image: np.ndarray, step: int) -> None:
        """Log a picture, uint8 of shape [H, W] in grays or [H, W, 3] in RGB; raises ConfigError for another."""
        from PIL import Image

        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
            raise ConfigError(
                f"{self._path}: the image {tag!r} is {image.dtype} of shape {list(image.shape)}; expected uint8 of "
                "shape [H, W] or [H, W, 3]."
            )
        # Not VisualDL's own encoder: with OpenCV installed that one swaps red and blue, and its bytes depend on it.
        with io.BytesIO() as file:
            Image.fromarray(image).save(file, format="png")
            self._append(self._value(tag, step, image={"encoded_image_string": file.getvalue()}))

    def log_graph(self, graph: str) -> None:
        """Write the graph that `model_graph` gave to `<folder>/vdlgraph.<name>.log`, in place of an older one.

        A run has one graph, and VisualDL reads it from a file of its own, so there is nothing to cut back. Raises
        SaveError.
        """
        if self.without is not None:
            return
        new = self.graph_path.with_name(f".{self.graph_path.name}.tmp")
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(create_new(new), "w", encoding="utf-8") as file:
                file.write(graph)
            new.replace(self.graph_path)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            raise explain(error, self.graph_path, len(graph), key="run.log_dir") from error

    def log_record(self, payload: bytes) -> None:
        """Log one record that VisualDL itself has made, as its bytes."""
        self._append(_frame(payload))

    def _header(self) -> bytes:
        from visualdl.component.base_component import meta_data

        return _frame(meta_data(walltime=_milliseconds()).SerializeToString())

    def _encode(self, scalars: Mapping[str, float], step: int) -> bytes:
        from visualdl.component.base_component import scalar

        for tag in scalars:
            self._check_tag(tag)
        walltime = _milliseconds()
        return b"".join(
            _frame(scalar(tag, value, int(step), walltime).SerializeToString()) for tag, value in scalars.items()
        )

    def _value(self, tag: str, step: int, **content: Any) -> bytes:
        """One record, of a kind that VisualDL's own functions encode by what else happens to be installed."""
        from visualdl.proto.record_pb2 import Record

        self._check_tag(tag)
        value = Record.Value(id=int(step), tag=tag, timestamp=_milliseconds(), **content)
        return _frame(Record(values=[value]).SerializeToString())

    def _check_tag(self, tag: str) -> None:
        if "%" in tag:
            raise ConfigError(f"{self._path}: VisualDL reads the '%' in the tag {tag!r} as '/'; leave it out.")

    def _whole(self, data: bytes) -> int:
        return sum(_LENGTH.size + len(payload) for payload in _payloads(data))


def read_scalars(path: str | Path) -> dict[str, list[tuple[int, float, str]]]:
    """Each tag's (step, value, the value's float32 bits in hex) in file order, without the wall-clock.

    A last record that is still being written is left out.
    """
    scalars: dict[str, list[tuple[int, float, str]]] = {}
    for record in _records(Path(path)):
        for item in record.values:
            if item.WhichOneof("one_value") == "value":
                bits = struct.pack(">f", item.value).hex()
                scalars.setdefault(item.tag, []).append((item.id, item.value, bits))
    return scalars


def read_images(path: str | Path) -> dict[str, list[tuple[int, bytes]]]:
    """Each picture's (step, PNG file) by tag in file order; a last record that is still being written is left out."""
    images: dict[str, list[tuple[int, bytes]]] = {}
    for record in _records(Path(path)):
        for item in record.values:
            if item.WhichOneof("one_value") == "image":
                images.setdefault(item.tag, []).append((item.id, item.image.encoded_image_string))
    return images


def read_values(path: str | Path) -> list[tuple[str, int, str, bytes]]:
    """Every record's (tag, step, kind, content) in file order, without the wall-clock.

    `kind` is `value` for a scalar, `histogram`, `image` and so on; `content` is what the file holds of it, so two
    records are the same if and only if their bytes are. The meta record is left out.
    """
    found = []
    for record in _records(Path(path)):
        for item in record.values:
            tag, step, kind = item.tag, item.id, item.WhichOneof("one_value")
            if kind != "meta_data":
                item.ClearField("timestamp")
                found.append((tag, step, kind, item.SerializeToString()))
    return found


def _records(path: Path) -> Iterator[Any]:
    """Each record of a file; raises DataError where it holds something else."""
    from google.protobuf.message import DecodeError
    from visualdl.proto.record_pb2 import Record

    try:
        for payload in _payloads(read_regular(path)):
            yield Record.FromString(payload)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except DecodeError as error:
        raise DataError(f"{path} holds something else than records of VisualDL: {error}.") from error


def _range(finite: np.ndarray) -> tuple[float, float]:
    """Least and largest; where they are so close that NumPy finds no room for buckets, somewhat around them."""
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    if high - low > 1e-9 * largest:
        return low, high
    room = 1e-3 * largest or 0.5
    return low - room, high + room


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
