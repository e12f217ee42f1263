"""Takes out of a damaged checkpoint the weights that are still right, each judged by its own digest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from pydantic import ValidationError

from paddle_resume.checkpoint.catalog import named_prefix
from paddle_resume.checkpoint.foreign_files import foreign_weights
from paddle_resume.checkpoint.reader import Arrays, read_record, sibling
from paddle_resume.checkpoint.record import MAX_BYTES, SUFFIX, FileEntry
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.durable_files import temporary
from paddle_resume.storage.regular_files import read_regular
from paddle_resume.toolbox.checkpoint_source import WEIGHTS
from paddle_resume.toolbox.damage import judged_tensors
from paddle_resume.toolbox.weights_file import write_weights

BY_RECORD = "by the digests of its record"
BY_DAMAGED_RECORD = "by the digests of its record, which is damaged itself"
UNVERIFIED = "by its pickle alone: no digest vouches for a value"


@dataclass(frozen=True)
class Salvaged:
    """What was saved of a checkpoint's weights and what is lost, as (name, why); `output` is empty if all is lost."""

    source: str
    output: str
    how: str
    saved: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0


def salvage(text: str, output: Path) -> Salvaged:
    """Write the tensors of a checkpoint's `.pdparams` that are right to `output`, a plain `.pdparams`.

    Where the record lists a tensor, its digest decides, also if the record is damaged elsewhere; a wrong entry
    would not match. Without any entry the file's pickle is read with the restricted reader, and no digest vouches for
    the values. Raises CheckpointError if there is no such file, or nothing can be read; SaveError.
    """
    prefix = named_prefix(text)
    weights = sibling(prefix, WEIGHTS)
    copies = [path for path in (weights, temporary(weights)) if path.is_file()]
    if not copies:
        raise CheckpointError(f"There are no weights at {weights}, so nothing of them can be saved.")
    index = _index(prefix)
    if index is None:
        if not weights.is_file():
            raise CheckpointError(f"{weights} is missing, and no record tells what {copies[0]} holds.")
        arrays, names = foreign_weights(prefix)
        size = write_weights(output, arrays, names or {})
        return Salvaged(str(prefix), str(output), UNVERIFIED, list(arrays), [], size)
    how, entry, names = index
    arrays, lost = _right_ones(copies, entry)
    size = write_weights(output, arrays, names) if arrays else 0
    return Salvaged(str(prefix), str(output) if arrays else "", how, list(arrays), lost, size)


def _right_ones(copies: list[Path], entry: FileEntry) -> tuple[Arrays, list[tuple[str, str]]]:
    """The tensors that are right in one of the copies, in the order of the entry, and why the others are lost."""
    found: Arrays = {}
    why: dict[str, str] = {}
    for path in copies:
        for tensor, values, reason in judged_tensors(path, entry):
            if values is not None:
                found.setdefault(tensor.name, values)
            else:
                why.setdefault(tensor.name, reason)
    arrays = {tensor.name: found[tensor.name] for tensor in entry.tensors if tensor.name in found}
    return arrays, [(tensor.name, why[tensor.name]) for tensor in entry.tensors if tensor.name not in found]


def _index(prefix: Path) -> Optional[tuple[str, FileEntry, dict[str, str]]]:
    """How it was found, the entry of the weights, and the table of names; None if no record has a usable entry."""
    final = sibling(prefix, SUFFIX)
    for path in (final, temporary(final)):
        # Not `record.read`: one flipped digit anywhere, and that would believe nothing of it.
        with suppress(OSError, ValueError, TypeError, KeyError, ValidationError):
            body: Any = parse_json(read_regular(path, MAX_BYTES).decode("utf-8", "replace").encode())
            entry = FileEntry(**body["files"][WEIGHTS])
            return _trust(path, prefix), entry, _names(body)
    return None


def _trust(path: Path, prefix: Path) -> str:
    try:
        read_record(path, prefix)
    except Unreadable:
        return BY_DAMAGED_RECORD
    return BY_RECORD


def _names(body: dict[str, Any]) -> dict[str, str]:
    owners = body.get("owners")
    table = owners.get("names") if isinstance(owners, dict) else None
    pairs = table.items() if isinstance(table, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}
