"""The finished weights as one file that stock Paddle loads, replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

from paddle_resume.stateful import Stateful
from paddle_resume.storage.files import replace_file
from paddle_resume.storage.framing import FramedFile


def save_weights(model: Stateful, path: Path) -> None:
    """Write the model's parameters and buffers to `path`; raises SaveError, the old file then as it was."""
    framed = FramedFile(model.state_dict())
    replace_file(path, framed.chunks(), framed.size)
