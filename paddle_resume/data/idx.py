"""Read the IDX files of MNIST and its relatives, plain or gzipped, and say what is wrong with a bad one."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Optional, Union

import numpy as np

from paddle_resume.errors import DataError
from paddle_resume.storage.regular_files import open_regular

_UINT8 = 0x08
_TYPES = {_UINT8: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_KINDS = {1: "labels", 3: "images"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_DIMS = 4
_CHUNK = 1 << 20
# Packed images of digits have a fifth of their size; beyond this it is a file that is made to fill the memory.
_SMALL, _PACKED = 1 << 26, 50
_FETCH_AGAIN = "The file is damaged or not finished: delete it and fetch it again."


def read_idx(path: Union[str, Path], dims: Optional[int] = None) -> np.ndarray:
    """The uint8 array in the IDX file at `path`, gzipped or plain (recognised by content, not by name).

    `dims` is the number of dimensions expected: 3 for images [N, H, W], 1 for labels [N]; None takes any.
    The result is contiguous and can only be read: it lies in `bytes`, so that no save of a run has to look whether it
    has changed. Memory follows what the file really holds, never the size it declares alone.

    The format: http://yann.lecun.com/exdb/mnist/ (magic 00 00 type dims, big-endian sizes, row-major data).

    Raises DataError if the file is missing, a folder, unreadable, empty, cut off, too long, not IDX, of
    another number of dimensions, or of a type other than uint8.
    """
    path = Path(path)
    with open_maybe_gzip(path) as stream:
        packed = path.stat().st_size
        header = stream.read(4)
        if not header:
            raise DataError(f"{path} is empty; expected an IDX file. {_FETCH_AGAIN}")
        _check_magic(path, header, dims)
        sizes = stream.read(4 * header[3])
        if len(sizes) < 4 * header[3]:
            raise DataError(
                f"{path} ends inside its header: {header[3]} sizes of 4 bytes expected, {len(sizes)} bytes "
                f"found. {_FETCH_AGAIN}"
            )
        shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
        return _read_payload(path, stream, shape, _SMALL + _PACKED * packed)


@contextmanager
def open_maybe_gzip(path: Path) -> Iterator[BufferedIOBase]:
    """Open `path` for reading bytes, unpacking it if its first two bytes are those of gzip.

    Raises DataError, also for what goes wrong while reading inside the `with` block.
    """
    try:
        with open_regular(path) as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield unpacked
            else:
                yield raw
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Check the path, or fetch the file.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; expected a file. Name the file inside it.") from error
    except EOFError as error:
        raise DataError(f"{path} is cut off: its gzip stream has no end. {_FETCH_AGAIN}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}). {_FETCH_AGAIN}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path} cannot be read: {reason}. Check the path and its permissions.") from error


def _check_magic(path: Path, header: bytes, dims: Optional[int]) -> None:
    expected = f"0x{bytes([0, 0, _UINT8, dims]).hex()}" if dims else "0x000008 and the number of dimensions"
    wanted = f"{expected} (uint8 {_KINDS.get(dims or 0, 'array')})"
    found = f"0x{header.hex()}"
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] not in _TYPES or not 1 <= header[3] <= _MAX_DIMS:
        raise DataError(
            f"{path} is not an IDX file: magic {found}, expected {wanted}. Check that the path names "
            "one of the MNIST files, not another format or a web page saved in its place."
        )
    if header[2] != _UINT8:
        raise DataError(
            f"{path} holds {_TYPES[header[2]]} values (magic {found}); only uint8 is supported, expected "
            f"{wanted}. Convert the file to uint8."
        )
    if dims and header[3] != dims:
        raise DataError(
            f"{path} holds {_KINDS.get(header[3], f'{header[3]} dimensions')} (magic {found}), expected "
            f"{wanted}. Perhaps the image and label files are swapped."
        )


def _read_payload(path: Path, stream: BufferedIOBase, shape: tuple[int, ...], most: int) -> np.ndarray:
    declared = 1
    for size in shape:
        declared *= size
    if not declared:
        raise DataError(f"{path} declares {' x '.join(map(str, shape))} = 0 bytes of data. {_FETCH_AGAIN}")
    if declared > most:
        raise DataError(
            f"{path} declares {' x '.join(map(str, shape))} = {declared:,} bytes of data, which a file of its size "
            f"does not hold. {_FETCH_AGAIN}"
        )
    payload, read = io.BytesIO(), 0
    # In pieces: read(declared) would allocate whatever a damaged header declares. The one byte more than
    # declared shows a file that is too long, and makes gzip reach its end and check its CRC.
    while read <= declared:
        piece = stream.read(min(_CHUNK, declared + 1 - read))
        if not piece:
            break
        read += payload.write(piece)
    if read != declared:
        found = f"only {read:,}" if read < declared else "more"
        fault = "cut off" if read < declared else "too long"
        raise DataError(
            f"{path} is {fault}: its header declares {' x '.join(map(str, shape))} = {declared:,} bytes of "
            f"data, {found} follow. {_FETCH_AGAIN}"
        )
    return np.frombuffer(payload.getvalue(), np.uint8).reshape(shape)
