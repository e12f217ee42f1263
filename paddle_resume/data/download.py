"""Bring Paddle's own MNIST files into Paddle's own cache folder: whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import httpx  # Paddle itself requires it
from paddle.dataset import common
from paddle.vision.datasets import MNIST, FashionMNIST
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from paddle_resume.errors import DataError
from paddle_resume.storage.durable_files import create_new
from paddle_resume.translations.console import Console

_DATASETS = {"mnist": MNIST, "fashion_mnist": FashionMNIST}
_TRIES = 3
_BACKOFF_S = 0.5
_TIMEOUT = httpx.Timeout(20.0, connect=3.0)
# Once this long has passed without reaching the server there is no other try: a machine that is offline
# learns it in ten seconds.
_UNREACHABLE_S = 6.0


@dataclass(frozen=True)
class RemoteFile:
    """One file of a dataset: where it comes from, where it goes, and the MD5 it must have."""

    url: str
    md5: str
    path: Path

    def is_cached(self) -> bool:
        """Whether the file is there and whole."""
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with self.path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        except OSError:
            return False
        return digest.hexdigest() == self.md5


def folder_name(name: str) -> str:
    """Paddle's folder name for the dataset `name`: "mnist" or "fashion-mnist"."""
    return _DATASETS[name].NAME


def remote_files(name: str) -> list[RemoteFile]:
    """The four files of `name` ("mnist" or "fashion_mnist"), as Paddle's dataset class lists them.

    In the order train images, train labels, test images, test labels.
    """
    dataset = _DATASETS[name]
    folder = Path(common.DATA_HOME) / dataset.NAME
    pairs = (
        (dataset.TRAIN_IMAGE_URL, dataset.TRAIN_IMAGE_MD5),
        (dataset.TRAIN_LABEL_URL, dataset.TRAIN_LABEL_MD5),
        (dataset.TEST_IMAGE_URL, dataset.TEST_IMAGE_MD5),
        (dataset.TEST_LABEL_URL, dataset.TEST_LABEL_MD5),
    )
    return [RemoteFile(url, md5, folder / url.rsplit("/", 1)[-1]) for url, md5 in pairs]


def download(files: list[RemoteFile]) -> None:
    """Fetch each of `files` that is not cached whole, with a progress bar on stderr and three tries each.

    A file appears under its name only when its MD5 is right; one with another MD5 is replaced.
    Raises DataError naming the URL, the target and the last failure.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for file in files:
            if not file.is_cached():
                _fetch_with_retries(file, progress)


def _fetch_with_retries(file: RemoteFile, progress: Progress) -> None:
    begun = time.monotonic()
    for attempt in range(1, _TRIES + 1):
        try:
            _fetch(file, progress)
            return
        except (httpx.HTTPError, httpx.InvalidURL, _WrongDigestError) as error:
            unreachable = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            if attempt == _TRIES or (unreachable and time.monotonic() - begun > _UNREACHABLE_S):
                raise DataError(
                    f"Could not download {file.url} in {attempt} tries: {error or type(error).__name__}. "
                    f"Fetch it by other means and put it at {file.path} (MD5 {file.md5})."
                ) from error
        except OSError as error:
            raise DataError(
                f"Could not write {file.path}: {error.strerror or error}. Free some space, or make the folder writable."
            ) from error
        time.sleep(_BACKOFF_S * attempt)


def _fetch(file: RemoteFile, progress: Progress) -> None:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    # One temporary for each process: several ranks may start on an empty cache at once.
    part = file.path.with_name(f".{file.path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    task = progress.add_task(file.path.name, total=None)
    # The bytes as stored, not as a server or proxy may pack them for the way: the MD5 is of those.
    headers = {"Accept-Encoding": "identity"}
    client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers=headers)
    try:
        with client, client.stream("GET", file.url) as answer, os.fdopen(create_new(part), "wb") as out:
            answer.raise_for_status()
            progress.update(task, total=float(answer.headers.get("content-length", 0)) or None)
            for chunk in answer.iter_raw(1 << 16):
                out.write(chunk)
                digest.update(chunk)
                progress.advance(task, len(chunk))
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != file.md5:
            raise _WrongDigestError(f"the MD5 is {digest.hexdigest()}, expected {file.md5}")
        part.replace(file.path)
    finally:
        part.unlink(missing_ok=True)
        progress.remove_task(task)


class _WrongDigestError(Exception):
    """A whole answer that is not the file asked for."""
