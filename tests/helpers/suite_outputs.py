"""What two trainings of a suite have written, value by value and bit by bit; only times and speeds do not count."""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddle_resume.loggers.visualdl import read_values

_WEIGHTS = {".pdparams", ".pdopt", ".pdema", ".pdstates", ".pdeqn", ".pdz", ".pth"}
_SETTINGS = {".bin"}
"""Pickles of a suite's own settings: the command says them all."""
_TEXTS = {".log", ".txt"}
"""The suites begin them with the time, and with the folder: what is in them is in the curves as well."""
_TIMES = re.compile(r"batch_cost|reader_cost|runtime|per_second")
_SPEEDS = re.compile(r"fps|time|.*_runtime|.*_per_second")


def differences(one: Path, other: Path, *, unwrapped: bool = False) -> list[str]:
    """Each value that is not the same in both folders, with where it stands.

    VisualDL's own thread has been seen to lose the last record of a curve as a program ends: if `one` is of an
    `unwrapped` program, a curve of it may lack that.
    """
    before, now = outputs(one), outputs(other)
    places = [*before, *(place for place in now if place not in before)]
    return [
        f"{place}: {str(before.get(place))[:60]} | {str(now.get(place))[:60]}"
        for place in places
        if before.get(place) != now.get(place)
        and not (unwrapped and _lacks_the_last(before.get(place), now.get(place)))
    ]


def _lacks_the_last(one: Any, other: Any) -> bool:
    are_curves = isinstance(one, list) and isinstance(other, list) and all(type(each) is tuple for each in other)
    return are_curves and 0 < len(one) == len(other) - 1 and one == other[:-1]


def outputs(folder: Path) -> dict[str, Any]:
    """All that a run has written, by where it stands."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.suffix in _TEXTS | _SETTINGS or path.name.startswith("."):
            continue
        if path.suffix in _WEIGHTS:
            found.update(_leaves(paddle.load(str(path), return_numpy=True), name))
        elif path.suffix == ".states":
            found.update(_leaves(pickle.loads(path.read_bytes()), name))
        elif path.suffix == ".json":
            found.update(_leaves(json.loads(path.read_text().replace(str(folder), "")), name))
        elif path.suffix == ".jsonl":
            lines = path.read_text().replace(str(folder), "").splitlines()
            found.update(_leaves([json.loads(line) for line in lines], name))
        else:
            found[name] = path.read_bytes().replace(str(folder).encode(), b"")
    for parent in sorted({path.parent for path in folder.rglob("vdlrecords*")}):
        found.update(_curves(parent, f"{parent.relative_to(folder)}: "))
    return found


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield f"{place}: keys", [str(key) for key in value]
        for key, inner in value.items():
            if not _SPEEDS.fullmatch(str(key)):
                yield from _leaves(inner, f"{place}/{key}")
    elif isinstance(value, (list, tuple)):
        yield f"{place}: length", len(value)
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}/{number}")
    else:
        yield place, _bits(value)


def _bits(value: Any) -> Any:
    if type(value).__name__ == "GeneratorState":
        return pickle.dumps(value).hex()
    if isinstance(value, (paddle.Tensor, np.ndarray, np.generic)):
        array = np.asarray(value)
        return array.tobytes().hex(), str(array.dtype), array.shape
    return struct.pack("<d", value).hex() if isinstance(value, float) else repr(value)


def _curves(folder: Path, place: str) -> dict[str, list[Any]]:
    """The curves in all files of a folder together; of times only the steps."""
    found: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("vdlrecords*")):
        for tag, step, kind, content in read_values(path):
            if kind == "hparam":  # VisualDL calls it by a digest of the time.
                content = content[:-32]
            found.setdefault(place + tag, []).append((step, kind, None if _TIMES.search(tag) else content))
    return found
