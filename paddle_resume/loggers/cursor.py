"""The end of what counts of a log, as a checkpoint remembers it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError


def offset_of(state: Mapping[str, Any]) -> int:
    """How many bytes of the log's file count; raises CheckpointError if `state` is no cursor."""
    offset = state.get("offset")
    if not isinstance(state.get("file"), str) or type(offset) is not int or offset < 0:
        raise _no_cursor(state)
    return offset


def waiting_of(state: Mapping[str, Any]) -> bytes:
    """The records behind the cursor that could not be written when it was saved; raises CheckpointError."""
    try:
        return base64.b64decode(state.get("waiting", ""), validate=True)
    except (TypeError, ValueError):
        raise _no_cursor(state) from None


def require_whole(state: Mapping[str, Any], whole: Callable[[bytes], int]) -> None:
    """Raise CheckpointError where what waits are no whole records; `whole` tells how many of its bytes are."""
    if whole(waiting := waiting_of(state)) != len(waiting):
        raise _no_cursor(state)


def _no_cursor(state: Mapping[str, Any]) -> CheckpointError:
    return CheckpointError(
        f"Expected a log's cursor, a file name and an offset of 0 or more bytes, found {dict(state)!r:.2000}; "
        "the checkpoint's record was changed, resume from another one."
    )


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
