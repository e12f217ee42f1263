"""Scalars as JSON Lines: one object per call, floats written so that they read back exactly."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from paddle_resume.checked_arguments import checked_class
from paddle_resume.errors import ConfigError
from paddle_resume.loggers.log_file import Logger
from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.regular_files import read_regular

WALL_CLOCK_FIELDS = ("time",)  # they differ from run to run, and nothing else may

_MOST_VALUES = 100_000  # of one line


@checked_class()
class JsonlLogger(Logger):
    """Writes `<folder>/<name>.jsonl`, `{"step": 3, "time": 1763689200.120, "train/loss": 0.5}` a line.

    `time` is in seconds since 1970. As in Python's json, values that are not finite are NaN and Infinity.
    """

    def __init__(self, folder: Union[str, Path], name: str = "metrics") -> None:
        super().__init__(Path(folder) / f"{name}.jsonl")

    def _encode(self, scalars: Mapping[str, float], step: int) -> bytes:
        for tag in ("step", *WALL_CLOCK_FIELDS):
            if tag in scalars:
                raise ConfigError(f"{self._path}: the tag {tag!r} is taken, every line has it; choose another tag.")
        # Three decimals always: every line must have the length it had before a cut.
        fields = [f'"step": {int(step)}', f'"time": {time.time():.3f}']
        fields += [f"{json.dumps(tag)}: {json.dumps(float(value))}" for tag, value in scalars.items()]
        return ("{" + ", ".join(fields) + "}\n").encode()

    def _whole(self, data: bytes) -> int:
        return data.rfind(b"\n") + 1


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a log in file order, without their wall-clock fields.

    A last line that is still being written is left out.
    """
    lines = read_regular(Path(path)).split(b"\n")[:-1]
    return [
        {key: value for key, value in parse_json(line, _MOST_VALUES).items() if key not in WALL_CLOCK_FIELDS}
        for line in lines
    ]
