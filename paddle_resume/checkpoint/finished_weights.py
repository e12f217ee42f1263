"""The finished weights as one file that stock Paddle loads, replaced whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import replace_file
from paddle_resume.storage.framing import FramedFile


def write_weights(weights: Mapping[str, Any], path: Path) -> None:
    """Write a model's parameters and buffers to `path`; raises SaveError, the old file then as it was."""
    framed = FramedFile(weights)
    replace_file(path, framed.chunks(), framed.size, key="run.model_path")


def save_best_weights(prefix: Path, suffix: str, path: Path) -> None:
    """Write the weights in the file `suffix` of the checkpoint `prefix` to `path`.

    Raises CheckpointError if that checkpoint is not whole, and SaveError.
    """
    try:
        framed = FramedFile(load(prefix).tensors[suffix])
    except (Unreadable, KeyError) as error:
        raise CheckpointError(
            f"The best checkpoint {prefix} cannot be read, so {path} was not written: {error}. Put a good copy back, "
            "or set best.final: last."
        ) from error
    replace_file(path, framed.chunks(), framed.size, key="run.model_path")
