"""IDX files: what is read, and what is said of each kind of bad file."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from paddle_resume.data.idx import read_idx
from paddle_resume.errors import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder: Path, content: bytes, name: str = "file-ubyte") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def error_of(path: Path, dims: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, dims)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_plain_and_gzipped_files_are_told_apart_by_content_not_by_name(tmp_path, pack, name):
    array = read_idx(write(tmp_path, pack(idx_bytes(IMAGES)), name), dims=3)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)


def test_nobody_can_write_into_the_array(tmp_path):
    array = read_idx(write(tmp_path, idx_bytes(IMAGES)))
    assert array.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 7
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_a_missing_file_is_named(tmp_path):
    assert "does not exist" in error_of(tmp_path / "nothing.gz")


def test_a_folder_is_named_as_one(tmp_path):
    assert "is a folder; expected a file" in error_of(tmp_path)


def test_an_unreadable_file_is_reported_with_the_systems_reason(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot be read: Too many levels of symbolic links" in error_of(loop)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_empty_file_is_called_empty(tmp_path, pack):
    assert "is empty" in error_of(write(tmp_path, pack(b"")))


def test_a_gzip_stream_that_was_cut_is_called_cut_off(tmp_path):
    whole = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, (9, 9, 9), dtype=np.uint8)))
    assert "is cut off: its gzip stream has no end" in error_of(write(tmp_path, whole[: len(whole) // 2]))


def test_a_gzip_file_whose_checksum_is_wrong_is_called_damaged(tmp_path):
    whole = bytearray(gzip.compress(idx_bytes(IMAGES)))
    whole[-5] ^= 1
    assert "damaged gzip file" in error_of(write(tmp_path, bytes(whole)))


def test_a_short_payload_is_reported_with_both_sizes(tmp_path):
    message = error_of(write(tmp_path, idx_bytes(IMAGES)[:-5]))
    assert "is cut off: its header declares 2 x 3 x 4 = 24 bytes of data, only 19 follow" in message
    assert "fetch it again" in message


def test_a_header_that_ends_early_is_reported(tmp_path):
    assert "ends inside its header: 3 sizes" in error_of(write(tmp_path, idx_bytes(IMAGES)[:10]))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_too_many_is_reported(tmp_path, pack):
    assert "is too long" in error_of(write(tmp_path, pack(idx_bytes(IMAGES) + b"\0")))


def test_a_wrong_magic_is_shown_beside_the_expected_one(tmp_path):
    message = error_of(write(tmp_path, b"<html>not found</html>"), dims=3)
    assert "magic 0x3c68746d, expected 0x00000803 (uint8 images)" in message


def test_labels_in_place_of_images_are_told(tmp_path):
    message = error_of(write(tmp_path, idx_bytes(np.zeros(5, np.uint8))), dims=3)
    assert "holds labels (magic 0x00000801), expected 0x00000803 (uint8 images)" in message
    assert "swapped" in message


def test_another_type_is_named(tmp_path):
    message = error_of(write(tmp_path, idx_bytes(np.zeros(5, np.uint8), kind=0x0D)))
    assert "holds float32 values (magic 0x00000d01); only uint8 is supported" in message


def test_a_file_that_declares_nothing_is_refused_even_with_sizes_numpy_cannot_hold(tmp_path):
    header = bytes([0, 0, 8, 4]) + b"\xff" * 12 + b"\0" * 4
    assert "= 0 bytes of data" in error_of(write(tmp_path, header))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_declared_size_alone_allocates_nothing(tmp_path, pack):
    path = write(tmp_path, pack(bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(100)))
    tracemalloc.start()
    message = error_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "which a file of its size does not hold" in message
    assert peak < 8 << 20
