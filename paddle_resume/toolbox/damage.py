"""What of a damaged file is still right: each tensor is judged by its own digest, whatever else was lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Optional

import numpy as np

from paddle_resume.checkpoint.reader import Source, check_file
from paddle_resume.checkpoint.record import FileEntry, TensorEntry
from paddle_resume.checkpoint.unreadable import Unreadable, WrongSize
from paddle_resume.storage.regular_files import open_regular


def judged_tensors(path: Path, entry: FileEntry) -> Iterator[tuple[TensorEntry, Optional[np.ndarray], str]]:
    """Each tensor of the entry with its values, or with None and why they are lost; one at a time in memory."""
    try:
        if path.is_symlink() or not path.is_file():
            raise FileNotFoundError(2, f"{path.name} is missing")
        with open_regular(path, buffering=0) as file:
            source, size = Source(file.fileno(), path), path.stat().st_size
            for tensor in entry.tensors:
                yield tensor, *_judge(source, tensor, size)
    except OSError as error:
        for tensor in entry.tensors:
            yield tensor, None, f"{path.name} could not be read: {error.strerror}"


def damages(path: Path, entry: FileEntry) -> list[str]:
    """Every damage of one file, a line each; [] if it is whole."""
    try:
        check_file(path, entry)
        return []
    except Unreadable as error:
        first = error
    lost = [f"{path.name}: {tensor.name}: {why}" for tensor, _, why in judged_tensors(path, entry) if why]
    if len(lost) == len(entry.tensors) or not lost:
        return [first.reason]  # The whole file, or what lies between the tensors: one line says it.
    return [*([first.reason] if isinstance(first, WrongSize) else []), *lost]


def _judge(source: Source, tensor: TensorEntry, size: int) -> tuple[Optional[np.ndarray], str]:
    if tensor.offset + tensor.length > size:
        return None, f"the file ends at byte {size}, before its values do"
    with suppress(OSError, Unreadable):
        raw, found = source.digested(tensor.offset, tensor.length)
        if found == tensor.digest:
            return raw.view(tensor.dtype).reshape(tensor.shape), ""
        return None, "its digest does not match"
    return None, "its bytes could not be read"
