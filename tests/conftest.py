"""What several test files share: tiny MNIST files, and a disk that can fill up or be made read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Before anything of the package is imported: the tests read English, wherever they run.
os.environ["PADDLE_RESUME_LANG"] = "en"

import forking
import numpy as np
import pytest
from idx_files import idx

import paddle_resume  # noqa: F401 - first of all, since it sets up the CPU before Paddle is imported

# What lies on disk is what most tests are about; those about checkpoints in memory turn them on again.
os.environ["PADDLE_RESUME_MEMORY"] = "off"
# Where a test fails, its error is to show all.
os.environ["PADDLE_RESUME_TRACEBACK"] = "full"
_ENVIRONMENT = dict(os.environ)


def pytest_collection_finish() -> None:
    """Forget the variables that libraries of the test modules set when imported (scikit-learn does).

    Paddle reads some of them, so a program that finds them cannot be forked from a process that began without.
    """
    for name in set(os.environ) - set(_ENVIRONMENT):
        if not name.startswith("PYTEST"):
            del os.environ[name]


def pytest_sessionfinish() -> None:
    """The processes from which tests fork programs end with the tests."""
    forking.close()


@pytest.fixture(scope="session")
def tiny_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four IDX files: 60 training and 20 test images of noise."""
    folder = tmp_path_factory.mktemp("mnist")
    random = np.random.default_rng(0)
    for stem, count in (("train", 60), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = random.integers(0, 10, count, dtype=np.uint8)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


@pytest.fixture(scope="session")
def digits_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with c.yaml, the data it names, a run of 25 steps and its export; to be copied, not changed."""
    from exporting import train_digits

    folder = tmp_path_factory.mktemp("digits")
    train_digits(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The mount point of a file system of 1 MiB of its own."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """A command that a test runs in this process may set variables; the next test's programs are not to find them."""
    before = dict(os.environ)
    yield
    for name in {*before, *os.environ} - {"PYTEST_CURRENT_TEST"}:
        if name in before:
            os.environ[name] = before[name]
        else:
            del os.environ[name]
