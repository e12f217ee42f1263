"""The end of what counts of a log: whole records are put there, and a checkpoint remembers it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError


def append_all_or_nothing(handle: int, data: bytes) -> None:
    """A disk that fills up in the middle would leave half a record, and readers could not go past it."""
    end = os.fstat(handle).st_size
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(handle, left) :]
    except BaseException:
        os.ftruncate(handle, end)
        raise


def offset_of(state: Mapping[str, Any]) -> int:
    offset = state.get("offset")
    if not isinstance(state.get("file"), str) or type(offset) is not int or offset < 0:
        raise CheckpointError(
            f"Expected a log's cursor, a file name and an offset of 0 or more bytes, found {dict(state)!r}; "
            "the checkpoint's record was changed, resume from another one."
        )
    return offset


def lacking(
    state: Mapping[str, Any], path: Path, size: Optional[int], whole_before: Callable[[int], int]
) -> list[Difference]:
    """Where the log at `path`, of `size` bytes or None without a file, does not reach the cursor `state`.

    `whole_before` tells where its last whole record ends before an offset. Raises CheckpointError if it is no cursor.
    """
    offset = offset_of(state)
    if state["file"] != path.name:
        return [Difference("name of the log", state["file"], path.name)]
    if offset and size is None:
        return [Difference(f"log {path}", f"{offset} bytes", "no file")]
    if offset > (size or 0):
        return [Difference(f"log {path}", f"{offset} bytes", f"{size} bytes")]
    if offset and (whole := whole_before(offset)) != offset:
        return [Difference(f"log {path}", f"a record ended at byte {offset}", f"the last one ends at {whole}")]
    return []
