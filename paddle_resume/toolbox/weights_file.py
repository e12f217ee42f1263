"""Writes a `.pdparams` that the toolbox has made; stock Paddle loads it, and it never takes a checkpoint's place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddle_resume.checkpoint.reader import Arrays, sibling
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import replace_file
from paddle_resume.storage.framing import FramedFile
from paddle_resume.toolbox.checkpoint_source import WEIGHTS, framed, has_record


def checked_output(text: str, overwrite: bool) -> Path:
    """The file to write; raises CheckpointError if it has another suffix, is there, or is part of a checkpoint."""
    path = Path(text)
    if path.suffix != WEIGHTS:
        raise CheckpointError(f"--output {text}: a file of weights ends with {WEIGHTS}; give {text}{WEIGHTS}.")
    prefix = path.with_suffix("")
    if has_record(prefix) or sibling(prefix, ".pdstates").exists():
        raise CheckpointError(f"--output {text} is part of the checkpoint {prefix}, and stays as it is; give another.")
    if path.is_dir():
        raise CheckpointError(f"--output {text} is a folder; give a file.")
    if path.exists() and not overwrite:
        raise CheckpointError(f"--output {text} is there already; give another file, or add --overwrite.")
    return path


def write_weights(path: Path, arrays: Arrays, names: Mapping[str, str]) -> int:
    """Write the arrays with Paddle's table of names, durably and whole or not at all; returns the bytes.

    Raises SaveError.
    """
    content = FramedFile(framed(arrays, names))
    replace_file(path, content.chunks(), content.size, key="--output")
    return content.size
