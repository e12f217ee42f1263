"""Converted weights on disk: a `.pdparams` that Paddle and `--weights` take, or a `.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paddle_resume.checkpoint.reader import sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.weights import NAME_TABLE, is_ours
from paddle_resume.convert.safetensors import write_safetensors
from paddle_resume.convert.weight_sources import FORMAT
from paddle_resume.errors import ConfigError, SaveError
from paddle_resume.storage.durable_files import format_bytes, replace_file
from paddle_resume.storage.framing import FramedFile

_PARAMETERS, _SAFETENSORS = ".pdparams", ".safetensors"


def check_output(output: str, source: Path) -> Path:
    """The path to write to; raises ConfigError if it has another ending, or holds what must not be replaced."""
    path = Path(output)
    if path.suffix not in (_PARAMETERS, _SAFETENSORS):
        raise ConfigError(f"{output}: expected an output that ends in {_PARAMETERS} or {_SAFETENSORS}.")
    if path.exists() and source.exists() and path.samefile(source):
        raise ConfigError(f"{output} is the file that is read; give the output another name.")
    if path.is_dir():
        raise ConfigError(f"{output} is a folder; give the name of a file.")
    if path.suffix == _PARAMETERS and is_ours(sibling(path.with_suffix(""), SUFFIX)):
        raise ConfigError(f"{output} belongs to a checkpoint, which it would damage; give the output another name.")
    return path


def write_weights(
    path: Path, arrays: Mapping[str, np.ndarray], names: Mapping[str, str], metadata: Mapping[str, str]
) -> int:
    """Write the arrays (bfloat16 as uint16) to `path`, replaced whole or not at all; returns its size in bytes.

    `names` is Paddle's table structured name -> parameter name, which both formats keep. `metadata` goes into a
    safetensors file, which also gets `format: paddle`; a `.pdparams` has no place for it.
    Raises SaveError, and StateError for a type that safetensors does not have.
    """
    table = {name: given for name, given in names.items() if name in arrays}
    try:
        if path.suffix == _SAFETENSORS:
            kept = {NAME_TABLE: json.dumps(table, ensure_ascii=False)} if table else {}
            return write_safetensors(path, arrays, {**metadata, FORMAT: "paddle", **kept})
        framed = FramedFile({**arrays, **({NAME_TABLE: table} if table else {})})
        replace_file(path, framed.chunks(), framed.size)
        return framed.size
    except SaveError as error:
        size = format_bytes(sum(array.nbytes for array in arrays.values()))
        reason = getattr(error.__cause__, "strerror", None) or str(error)
        raise SaveError(
            f"Could not write {path}, {size}: {reason}. What was there before is as it was. Make room, or give the "
            "output another folder."
        ) from error
