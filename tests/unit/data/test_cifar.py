"""CIFAR's archives: read as Paddle reads them, and nothing in them is run."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_resume.builders.registry import build
from paddle_resume.data.datasets import Cifar10, Cifar100
from paddle_resume.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)


class Bad:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def batch(count: int, labels: str = "labels") -> dict[str, Any]:
    pixels = RANDOM.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": pixels, labels: RANDOM.integers(0, 10, count).tolist(), "filenames": ["a.png"] * count}


def archive(path: Path, members: dict[str, Any], protocol: int = 2) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            raw = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
            entry = tarfile.TarInfo(f"cifar/{name}")
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))
    return path


def as_bytes(content: dict[str, Any]) -> dict[bytes, Any]:
    """With keys as they come out of Python 2's pickles by `encoding="bytes"`, which is how Paddle reads them."""
    return {key.encode(): value for key, value in content.items()}


@pytest.mark.parametrize("mode", ["train", "test"])
def test_samples_are_those_of_paddle(tmp_path: Path, mode: str) -> None:
    members = {name: as_bytes(batch(5)) for name in ("data_batch_2", "data_batch_1", "test_batch", "batches.meta")}
    file = archive(tmp_path / "c.tar.gz", members)
    ours, theirs = Cifar10(str(file), mode), paddle.vision.datasets.Cifar10(str(file), mode)
    assert len(ours) == len(theirs) == (10 if mode == "train" else 5)
    for mine, other in zip(ours.data, theirs.data):
        np.testing.assert_array_equal(mine[0], other[0])
        assert mine[1] == other[1]


def test_pickles_of_python_2_are_read(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8)
    raw = pixels.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02M\x00\x0ct"
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    )
    text = b"\x80\x02}(U\x04data" + array + len(raw).to_bytes(4, "little") + raw + b"tbU\x06labels](K\x03K\x04eu."
    found = Cifar10(str(archive(tmp_path / "c.tar.gz", {"test_batch": text})), "test").data
    np.testing.assert_array_equal(found[1][0], pixels[1])
    assert [label for _, label in found] == [3, 4]


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    file = archive(tmp_path / "c.tar.gz", {"train": as_bytes(batch(3, "fine_labels"))})
    assert len(Cifar100(str(file), "train")) == 3


def test_an_archive_that_would_run_something_is_refused_through_a_config(tmp_path: Path) -> None:
    file = archive(tmp_path / "c.tar.gz", {"data_batch_1": {"data": Bad(tmp_path / "MARKER")}})
    for name in ("Cifar10", "paddle_resume.data.datasets:Cifar10"):
        with pytest.raises(DataError, match=r"data_batch_1 was not loaded: it asks for posix.system"):
            build("data", name, {"data_file": str(file), "mode": "train"})
    with pytest.raises(ConfigError, match="is a part of Paddle"):
        build("data", "paddle.vision.datasets.cifar:Cifar10", {"data_file": str(file), "mode": "train"})
    assert not (tmp_path / "MARKER").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"data": np.zeros((2, 3), np.uint8), "labels": [1, 2]}, "holds no images of CIFAR"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "does not hold a label for each image"),
        (np.zeros(3), "holds no images of CIFAR"),
        (b"\x80\x02" + b"x" * 100, "is damaged"),
        (bytes(1 << 26), "is more than any has"),
    ],
)
def test_another_archive_is_refused(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Cifar10(str(archive(tmp_path / "c.tar.gz", {"data_batch_1": content})), "train")


def test_a_file_that_is_no_archive_or_has_none_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no archive" * 1000)
    with pytest.raises(DataError, match="is no archive of CIFAR"):
        Cifar10(str(tmp_path / "x"), "train")
    with pytest.raises(DataError, match="holds no test_batch of CIFAR"):
        Cifar10(str(archive(tmp_path / "c.tar.gz", {"data_batch_1": batch(1)})), "test")
    (tmp_path / "long.tar").write_bytes(long_name())
    with pytest.raises(DataError, match="a name in it is too long"):
        Cifar10(str(tmp_path / "long.tar"), "train")


def long_name() -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(tarfile.TarInfo("data_batch" * 10_000))
        return file.getvalue()
