"""Values that cannot change by themselves, and how a record writes them: each exactly, in its own type."""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import re
import struct
import time
import types
import uuid
import zoneinfo
from collections.abc import Mapping
from typing import Any, Callable, Optional

import numpy as np
import paddle

from paddle_resume.found_state.kind import Beside
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink

_LONG = 4096  # letters or bytes; what is longer goes where arrays go
_SAFE_INT = 1 << 62
MAIN_PROGRAM = "main program"
PATHS = (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
DTYPES = (type(paddle.float32),)
PLACES = (paddle.CPUPlace, paddle.CUDAPlace, paddle.CUDAPinnedPlace)

ALWAYS: frozenset[Any] = frozenset(
    {
        *(bool, int, float, complex, str, bytes, Beside, type(None), type(Ellipsis), type(NotImplemented), range),
        *(datetime.date, datetime.timedelta, datetime.timezone, decimal.Decimal, fractions.Fraction, uuid.UUID),
        *(zoneinfo.ZoneInfo, time.struct_time),
        *(*PATHS, re.Pattern, *DTYPES, *PLACES, types.ModuleType),
        *{np.dtype(code).type for code in "?bhilqpBHILQPefdgFDGSUMm"},
    }
)
"""Types all of whose objects are leaves."""


class Names:
    """The names of things in this process that a record writes otherwise, since the next process gives others.

    Paddle names parameters by a counter, and state is kept under such names: by optimizers, by a user's average of the
    weights. A record has the path of the parameter instead.
    """

    def __init__(
        self,
        parameters: Mapping[str, str],
        sink: Optional[ArraySink] = None,
        find_class: Optional[Callable[[str], type]] = None,
    ) -> None:
        self.parameters = parameters
        self.sink = sink
        self._find_class = find_class

    def of_class(self, cls: type) -> str:
        """The name of a class; raises Problem for one that could not be found again by it."""
        key = class_key(cls)
        if self._find_class is not None and self._find_class(key) is not cls:
            raise Problem(f"the class {cls.__qualname__}, which could not be found again by its name")
        return key


def leaf_cell(value: Any, names: Names, path: str) -> Any:
    """What a record says for a leaf; lists stand for all that JSON has no form of."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -_SAFE_INT < value < _SAFE_INT else ["int", hex(value)]
    if kind is float:
        return value if math.isfinite(value) else ["float", struct.pack("<d", value).hex()]
    if kind is str:
        return _text(value, names, path)
    if kind is Beside:
        return ["beside", str(value)]
    if issubclass(kind, np.generic):
        return ["np", value.dtype.str, value.tobytes().hex()]
    if issubclass(kind, enum.Enum):
        return _enum_cell(value, names, path)
    if issubclass(kind, type):
        return ["class", names.of_class(value)]
    return _WRITE[kind](value, names, path) if kind in _WRITE else _rest(value, names, path)


def same_cells(one: Any, other: Any) -> bool:
    """Whether two cells, or lists of them, say the same; to Python 1, 1.0 and True are equal, and so are both zeros."""
    if type(one) is not type(other):
        return False
    if type(one) is list:
        return len(one) == len(other) and all(map(same_cells, one, other))
    if type(one) is dict:
        return list(one) == list(other) and all(map(same_cells, one.values(), other.values()))
    if type(one) is np.ndarray:
        return one.tobytes() == other.tobytes()
    return one.hex() == other.hex() if type(one) is float else one == other


def _text(value: str, names: Names, path: str) -> Any:
    if value in names.parameters:
        return ["name of", names.parameters[value]]
    if len(value) <= _LONG or names.sink is None:
        return value
    return ["text", names.sink.put(path, np.frombuffer(value.encode("utf-8", "surrogatepass"), np.uint8))]


def _bytes(value: bytes, names: Names, path: str) -> Any:
    if len(value) <= _LONG or names.sink is None:
        return ["bytes", base64.b64encode(value).decode()]
    return ["long bytes", names.sink.put(path, np.frombuffer(value, np.uint8))]


def _enum_cell(value: Any, names: Names, path: str) -> Any:
    cls = type(value)
    name = value._name_
    if name is not None and vars(cls)["_member_map_"].get(name) is value:
        return ["enum", names.of_class(cls), name]
    return ["flag", names.of_class(cls), leaf_cell(value._value_, names, path)]


def _items(tag: str) -> Callable[[Any, Names, str], Any]:
    return lambda value, names, path: [tag, *(leaf_cell(item, names, path) for item in value)]


def _frozenset(value: frozenset, names: Names, path: str) -> Any:
    cells = [leaf_cell(item, names, path) for item in value]
    if not all(type(item) in (bool, int, float) for item in value):
        cells.sort(key=repr)  # the order of a set of texts is another one in each process
    return ["frozenset", *cells]


def _rest(value: Any, names: Names, path: str) -> Any:
    if isinstance(value, np.dtype):
        return ["np.dtype", value.str]
    for name, program in main_programs().items():
        if value is program:
            return [MAIN_PROGRAM, name]
    raise Problem(f"a {type(value).__qualname__} has no form in a record")


def _tz(zone: Any) -> Any:
    if type(zone) is zoneinfo.ZoneInfo:
        return [zone.key]
    return None if zone is None else [zone.utcoffset(None) // datetime.timedelta(microseconds=1), zone.tzname(None)]


def _clock_time(value: Any) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, _tz(value.tzinfo)]


_WRITE: dict[type, Callable[[Any, Names, str], Any]] = {
    complex: lambda v, n, p: ["complex", struct.pack("<2d", v.real, v.imag).hex()],
    bytes: _bytes,
    tuple: _items("tuple"),
    frozenset: _frozenset,
    range: lambda v, n, p: ["range", *(leaf_cell(x, n, p) for x in (v.start, v.stop, v.step))],
    slice: lambda v, n, p: ["slice", *(leaf_cell(x, n, p) for x in (v.start, v.stop, v.step))],
    type(Ellipsis): lambda v, n, p: ["..."],
    type(NotImplemented): lambda v, n, p: ["NotImplemented"],
    datetime.datetime: lambda v, n, p: ["datetime", v.year, v.month, v.day, *_clock_time(v)],
    datetime.date: lambda v, n, p: ["date", v.year, v.month, v.day],
    datetime.time: lambda v, n, p: ["time", *_clock_time(v)],
    datetime.timedelta: lambda v, n, p: ["timedelta", v.days, v.seconds, v.microseconds],
    datetime.timezone: lambda v, n, p: ["timezone", *_tz(v)],
    zoneinfo.ZoneInfo: lambda v, n, p: ["zone", v.key],
    time.struct_time: lambda v, n, p: ["struct_time", *v, v.tm_zone, v.tm_gmtoff],
    decimal.Decimal: lambda v, n, p: ["decimal", str(v)],
    fractions.Fraction: lambda v, n, p: ["fraction", *(leaf_cell(x, n, p) for x in (v._numerator, v._denominator))],
    uuid.UUID: lambda v, n, p: ["uuid", v.hex],
    re.Pattern: lambda v, n, p: ["pattern", leaf_cell(v.pattern, n, p), v.flags],
    types.ModuleType: lambda v, n, p: ["module", vars(v).get("__name__", "")],
    **{cls: lambda v, n, p: ["path", type(v).__name__, str(v)] for cls in PATHS},
    **{cls: lambda v, n, p: ["paddle.dtype", dtype_name(v)] for cls in DTYPES},
    **{cls: lambda v, n, p: ["place", str(v)] for cls in PLACES},
}


def main_programs() -> dict[str, Any]:
    """Paddle's main program, of which newer versions have two: optimizers keep their rate under one of them."""
    return {"static": paddle.static.default_main_program(), "base": paddle.base.framework.default_main_program()}


def class_key(cls: type) -> str:
    """How a record names a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def dtype_name(dtype: Any) -> str:
    """The name of Paddle's dtype, such as `bfloat16`."""
    return str(dtype).rpartition(".")[2].lower()
