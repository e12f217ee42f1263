"""Weights alone, from a checkpoint of ours (verified by its record) or from any `.pdparams` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paddle_resume.checkpoint.catalog import find_all, named_prefix
from paddle_resume.checkpoint.reader import Arrays, load, sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.resume_errors import offer
from paddle_resume.checkpoint.settled import settled
from paddle_resume.checkpoint.unreadable import Missing, Unreadable
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.framing import digest
from paddle_resume.storage.restricted_pickle import read_foreign

_PARAMETERS = ".pdparams"
NAME_TABLE = "StructuredToParameterName@@"
# Before protocol 4, Paddle cuts arrays of more than 1 GiB into slices, and notes here how they belong together.
_SLICES = "UnpackBigParamInfor@@"


def read_weights(text: str) -> tuple[Path, Arrays]:
    """The file meant by `text` (a prefix, or a `.pdparams` file) and its arrays by structured name.

    Raises CheckpointError if it is missing, damaged, or holds something else than named arrays.
    """
    return read_named(text)[:2]


def read_named(text: str) -> tuple[Path, Arrays, dict[str, str]]:
    """What `read_weights` gives, and the table structured name -> parameter name; empty if the file has none."""
    prefix = named_prefix(text)
    path = sibling(prefix, _PARAMETERS)
    if is_ours(sibling(prefix, SUFFIX)):
        try:
            loaded = settled([prefix], lambda: load(prefix))
            if _PARAMETERS not in loaded.tensors:
                raise Missing(f"{path.name}, which its record does not list,")
            return path, loaded.tensors[_PARAMETERS], _texts(loaded.record.owners.get("names"))
        except Unreadable as error:
            raise CheckpointError(f"Checkpoint {prefix} is not whole: {error.reason}.") from error
    if not path.is_file():
        known = [str(found.prefix) for found in find_all(prefix.parent) if found.record]
        raise CheckpointError(f"There are no weights at {path}. {offer(known)}")
    content = read_foreign(path)
    table = content.get(NAME_TABLE) if isinstance(content, dict) else None
    return path, named_arrays(path, content), _texts(table)


def fingerprint(arrays: Arrays) -> str:
    """A digest over names, dtypes, shapes and values."""
    lines = [f"{n} {a.dtype.str} {a.shape} {digest(np.ascontiguousarray(a))}\n" for n, a in sorted(arrays.items())]
    return digest("".join(lines).encode("utf-8", "surrogatepass"))


def _texts(table: object) -> dict[str, str]:
    given = table.items() if isinstance(table, dict) else ()
    return {name: value for name, value in given if isinstance(name, str) and isinstance(value, str)}


def is_ours(record: Path) -> bool:
    """Whether a `.pdstates` is a commit record, sound or not; other suites write a pickle of that name."""
    if not record.is_file():
        return False
    try:
        with record.open("rb") as file:
            return file.read(1) != b"\x80"
    except FileNotFoundError:  # Retention has just removed it.
        return False


def named_arrays(path: Path, content: object) -> Arrays:
    """The arrays that the file at `path` was found to hold; raises CheckpointError if it holds something else."""
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dict of weights by name.")
    content = joined(path, {name: as_array(value) for name, value in content.items() if name != NAME_TABLE})
    if not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path} holds entries whose names are no text, so they are no weights.")
    strange = [name for name, value in content.items() if not isinstance(value, np.ndarray)]
    if strange:
        raise CheckpointError(f"{path} holds entries that are no weights: {', '.join(strange[:5])}.")
    return content


def joined(path: Path, content: dict[Any, Any]) -> dict[Any, Any]:
    """The content with arrays that were cut into slices made whole; raises CheckpointError if they do not fit."""
    table = content.pop(_SLICES, None)
    if table is None:
        return content
    try:
        for name, entry in table.items():
            slices = [content.pop(part) for part in entry["slices"]]
            content[name] = np.concatenate(slices).reshape(entry["OriginShape"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: the slices of its large arrays do not fit together.") from error
    return content


def as_array(value: object) -> object:
    """A stored array in the byte order of this machine; any other value as it is."""
    # Paddle writes a tensor outside a state dict as (name, array).
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
        value = value[1]
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    return np.array(value, value.dtype.newbyteorder("="))
