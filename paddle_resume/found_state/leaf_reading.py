"""Leaves as a record writes them, made again: checked by type, and nothing looked up but what is known here."""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import enum
import fractions
import re
import struct
import time
import types
import uuid
import zoneinfo
from typing import Any, Callable, Protocol

import numpy as np
import paddle

from paddle_resume.found_state.kind import Beside
from paddle_resume.found_state.leaves import DTYPES, MAIN_PROGRAM, PATHS, dtype_name, main_programs
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySource

_NUMPY = re.compile(r"[<>|=](?:[biufc][0-9]{1,2}|[USMm][0-9]{1,9}(?:\[[0-9]{0,9}[A-Za-z]{1,2}\])?)")
_PADDLE_NAMES = re.compile(r"[a-z0-9_]{1,20}")
_PLACE = re.compile(r"Place\((cpu|gpu_pinned|gpu:([0-9]{1,3}))\)")
_MOST_DEEP = 8
_MOST_LETTERS = 100


class Known(Protocol):
    """What is known of this process: the only place in which a record's names are looked up."""

    source: ArraySource

    def find_class(self, key: Any) -> type:
        """The class of this key; raises Problem for one that no object of the run and no module of theirs has."""

    def find_module(self, name: Any) -> types.ModuleType:
        """A module that is loaded and that the run refers to; raises Problem for any other."""

    def name_of(self, path: Any) -> str:
        """The name of the parameter at this path; raises Problem if there is none."""


def leaf_of(cell: Any, known: Known, depth: int = 0) -> Any:
    """The value of a cell; raises Problem for what `leaf_cell` never gives."""
    if cell is None or type(cell) in (bool, int, float, str):
        return cell
    if type(cell) is not list or not cell or type(cell[0]) is not str or cell[0] not in _READ or depth > _MOST_DEEP:
        raise Problem(f"{str(cell)[:80]!r} is no value")
    try:
        return _READ[cell[0]](cell[1:], known, depth + 1)
    except Problem:
        raise
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        OverflowError,
        LookupError,
        RecursionError,
        struct.error,
        re.error,
    ) as error:
        raise Problem(f"{str(cell)[:80]!r} is no value: {error}") from error


def _number(cell: list[Any], known: Known, depth: int) -> int:
    (text,) = cell
    if type(text) is not str or not re.fullmatch(r"-?0x[0-9a-f]{1,100000}", text):
        raise Problem(f"{str(text)[:40]!r} is no whole number")
    return int(text, 16)


def _text(cell: list[Any], known: Known, depth: int) -> str:
    return known.source.get(cell[0]).tobytes().decode("utf-8", "surrogatepass")


def _scalar(cell: list[Any], known: Known, depth: int) -> Any:
    dtype, raw = cell
    if not _NUMPY.fullmatch(dtype):
        raise Problem(f"there is no dtype {dtype[:40]!r}")
    if np.dtype(dtype).itemsize == 0:  # an empty text
        return np.zeros(1, dtype)[0]
    return np.frombuffer(bytes.fromhex(raw), dtype, 1)[0]


def _bytes(cell: list[Any], known: Known, depth: int) -> bytes:
    try:
        return base64.b64decode(cell[0], validate=True)
    except binascii.Error as error:
        raise Problem("the bytes are damaged") from error


def _enum(cell: list[Any], known: Known, depth: int) -> Any:
    key, name = cell
    return vars(_enum_class(key, known))["_member_map_"][name]


def _flag(cell: list[Any], known: Known, depth: int) -> Any:
    key, value = cell
    cls = _enum_class(key, known)
    plain = leaf_of(value, known, depth)
    member = vars(cls)["_value2member_map_"].get(plain)
    if member is not None:
        return member
    own = [base for base in cls.__mro__ if base.__module__ != "enum" and "_missing_" in vars(base)]
    if not issubclass(cls, enum.Flag) or own or type(plain) is not int:
        raise Problem(f"{cls.__qualname__} has no member {str(plain)[:40]}")
    return cls(plain)  # the combination of several flags, which the standard library makes


def _enum_class(key: Any, known: Known) -> Any:
    cls = known.find_class(key)
    if not issubclass(cls, enum.Enum):
        raise Problem(f"{cls.__qualname__} is no enumeration")
    return cls


def _items(cell: list[Any], known: Known, depth: int) -> list[Any]:
    return [leaf_of(item, known, depth) for item in cell]


def _frozenset(cell: list[Any], known: Known, depth: int) -> frozenset:
    return frozenset(_items(cell, known, depth))


def _fraction(cell: list[Any], known: Known, depth: int) -> fractions.Fraction:
    parts = _items(cell, known, depth)
    if not all(type(part) is int for part in parts):
        raise Problem("a fraction has whole numbers")  # As a text, such as 1e999999999, it would take for ever.
    return fractions.Fraction(*parts)


def _tz(cell: Any) -> Any:
    if cell is None:
        return None
    if len(cell) == 1:
        return _zone(cell[0])
    microseconds, name = cell
    offset = datetime.timedelta(microseconds=microseconds)
    zone = datetime.timezone(offset)
    if zone.tzname(None) == name:
        return datetime.timezone.utc if not offset and name == "UTC" else zone
    return datetime.timezone(offset, name)


def _zone(key: Any) -> zoneinfo.ZoneInfo:
    if type(key) is not str or len(key) > _MOST_LETTERS:
        raise Problem("a zone has a name")
    try:
        return zoneinfo.ZoneInfo(key)
    except (OSError, ValueError, LookupError) as error:
        raise Problem(f"this machine knows no time zone {key!r}") from error


def _struct_time(cell: list[Any]) -> time.struct_time:
    *fields, zone, offset = cell
    if len(fields) != 9 or not all(type(field) is int for field in fields):
        raise Problem("a struct_time has nine whole numbers")
    return time.struct_time(fields, {"tm_zone": zone, "tm_gmtoff": offset})


def _datetime(cell: list[Any], known: Known, depth: int) -> datetime.datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = cell
    return datetime.datetime(year, month, day, hour, minute, second, microsecond, _tz(zone), fold=fold)


def _time(cell: list[Any], known: Known, depth: int) -> datetime.time:
    hour, minute, second, microsecond, fold, zone = cell
    return datetime.time(hour, minute, second, microsecond, _tz(zone), fold=fold)


def _path(cell: list[Any], known: Known, depth: int) -> Any:
    name, text = cell
    if type(text) is not str:
        raise Problem(f"{str(text)[:40]!r} is no path")
    return {cls.__name__: cls for cls in PATHS}[name](text)


def _dtype(cell: list[Any], known: Known, depth: int) -> Any:
    (name,) = cell
    found = getattr(paddle, name, None) if _PADDLE_NAMES.fullmatch(name) else None
    if not isinstance(found, DTYPES) or dtype_name(found) != name:
        raise Problem(f"Paddle has no dtype {name[:40]!r}")
    return found


def _numpy_dtype(cell: list[Any], known: Known, depth: int) -> np.dtype:
    (name,) = cell
    if name != "|O" and not _NUMPY.fullmatch(name):
        raise Problem(f"there is no dtype {name[:40]!r}")
    return np.dtype(name)


def _place(cell: list[Any], known: Known, depth: int) -> Any:
    (text,) = cell
    found = _PLACE.fullmatch(text)
    if found is None:
        raise Problem(f"there is no place {text[:40]!r}")
    if found[1] == "cpu":
        return paddle.CPUPlace()
    # Paddle 2.6 ends the process where there is no such device.
    if not paddle.is_compiled_with_cuda() or int(found[2] or 0) >= paddle.device.cuda.device_count():
        raise Problem(f"there is no place {text[:40]!r} here")
    return paddle.CUDAPinnedPlace() if found[2] is None else paddle.CUDAPlace(int(found[2]))


def _pattern(cell: list[Any], known: Known, depth: int) -> re.Pattern:
    pattern, flags = cell
    return re.compile(leaf_of(pattern, known, depth), flags)


_Reader = Callable[[list[Any], Known, int], Any]
_READ: dict[str, _Reader] = {
    "int": _number,
    "beside": lambda c, k, d: Beside(c[0]),
    "float": lambda c, k, d: struct.unpack("<d", bytes.fromhex(c[0]))[0],
    "complex": lambda c, k, d: complex(*struct.unpack("<2d", bytes.fromhex(c[0]))),
    "text": _text,
    "name of": lambda c, k, d: k.name_of(c[0]),
    "bytes": _bytes,
    "long bytes": lambda c, k, d: k.source.get(c[0]).tobytes(),
    "np": _scalar,
    "enum": _enum,
    "flag": _flag,
    "class": lambda c, k, d: k.find_class(c[0]),
    "module": lambda c, k, d: k.find_module(c[0]),
    "tuple": lambda c, k, d: tuple(_items(c, k, d)),
    "frozenset": _frozenset,
    "range": lambda c, k, d: range(*_items(c, k, d)),
    "slice": lambda c, k, d: slice(*_items(c, k, d)),
    "...": lambda c, k, d: ...,
    "NotImplemented": lambda c, k, d: NotImplemented,
    "datetime": _datetime,
    "zone": lambda c, k, d: _zone(c[0]),
    "struct_time": lambda c, k, d: _struct_time(c),
    "date": lambda c, k, d: datetime.date(*c),
    "time": _time,
    "timedelta": lambda c, k, d: datetime.timedelta(*c),
    "timezone": lambda c, k, d: _tz(c),
    "decimal": lambda c, k, d: decimal.Decimal(c[0]),
    "fraction": _fraction,
    "uuid": lambda c, k, d: uuid.UUID(hex=c[0]),
    "path": _path,
    "paddle.dtype": _dtype,
    "np.dtype": _numpy_dtype,
    "place": _place,
    "pattern": _pattern,
    MAIN_PROGRAM: lambda c, k, d: main_programs()[c[0]],
}
