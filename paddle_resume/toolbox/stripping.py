"""`strip`: a checkpoint's weights alone, as the plain `.pdparams` to hand on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from paddle_resume.checkpoint.reader import check_file
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import replace_file
from paddle_resume.storage.regular_files import open_regular
from paddle_resume.toolbox.byte_progress import Advance, size_of, unheard
from paddle_resume.toolbox.checkpoint_source import WEIGHTS, Opened, file_of, read_all
from paddle_resume.toolbox.weights_file import write_weights

_AVERAGE = ".pdema"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Stripped:
    """What was written, and the bytes of the checkpoint that it came from."""

    output: str
    source: str
    tensors: int
    size: int
    before: int


def strip(opened: Opened, output: Path, *, average: bool = False, advance: Advance = unheard) -> Stripped:
    """Write the weights of a checkpoint to `output`; with `average` those of its moving average (`.pdema`).

    The `.pdparams` of our own checkpoints is verified and then copied piece by piece; other files are read whole and
    written anew, so that what was an unknown pickle is one that Paddle loads. Raises CheckpointError and SaveError.
    """
    file = file_of(opened, _AVERAGE if average else WEIGHTS)
    if opened.record is not None and not average:
        entry = opened.record.files[WEIGHTS]
        size = entry.size
        try:
            check_file(file.path, entry, advance)
            source = open_regular(file.path)  # At hand from here on, though a training should replace it.
        except (Unreadable, OSError) as error:
            raise CheckpointError(
                f"{file.path} is damaged: {error}. `paddle-resume recover` saves what is right of it."
            ) from error
        with source:
            replace_file(output, _pieces(source), size, key="--output")
    else:
        size = write_weights(output, read_all(file), opened.names)
    before = sum(size_of(each.path) for each in opened.files.values())
    return Stripped(str(output), opened.label, len(file.tensors), size, before)


def _pieces(file: BufferedReader) -> Iterator[memoryview]:
    while piece := file.read(_PIECE):
        yield memoryview(piece)
