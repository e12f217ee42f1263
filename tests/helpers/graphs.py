"""Object graphs for the tests: written down independently of the walker, saved through a record's text, and resumed."""

from __future__ import annotations

import collections
import copy
import datetime
import enum
import functools
import io
import itertools
import random
import struct
import types
from array import array
from collections.abc import Callable
from typing import Any, Optional

import numpy as np

import paddle_resume  # noqa: F401 - isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.walker import Walker

Roots = dict[str, Any]


class Life:
    """One process of a run: objects that a program makes, and the walker that looks at them."""

    def __init__(self, make: Callable[[], Roots], claims: Optional[Callable[[Roots], Claims]] = None) -> None:
        self.roots = make()
        self.walker = Walker(self.roots, claims(self.roots) if claims else None)

    def saved(self) -> tuple[Any, dict[str, np.ndarray]]:
        """What a checkpoint holds: the record went through its text, and the arrays were copied."""
        record, arrays = self.walker.capture()
        return decode_state(encode_state("found", record)), {name: array.copy() for name, array in arrays.items()}


def resumed(make: Callable[[], Roots], saved: Any, claims: Optional[Callable[[Roots], Claims]] = None) -> Life:
    """The next process: the same program, brought to what was saved."""
    life = Life(make, claims)
    life.walker.restore(*saved)
    return life


def after(make: Callable[[], Roots], change: Callable[[Roots], Any]) -> tuple[Roots, Roots]:
    """The objects of a run that `change` was made in, and those of a process that resumed from there."""
    life = Life(make)
    change(life.roots)
    saved = life.saved()
    return life.roots, resumed(make, saved).roots


def written(thing: Any) -> list[Any]:
    """All that is in a graph, with its types, bits, and which references lead to the same object."""
    seen: dict[int, int] = {}
    kept: list[Any] = []
    lines: list[Any] = []
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        is_plain, text = _plain(one)
        if is_plain:
            lines.append(text)
            continue
        if id(one) in seen:
            lines.append(("again", seen[id(one)]))
            continue
        seen[id(one)] = len(seen)
        kept.append(one)
        told, parts = _parts(one)
        lines.append((_name(one), told, len(parts)))
        waiting += reversed(parts)
    return lines


def _name(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"


def _plain(one: Any) -> tuple[bool, Any]:
    kind = type(one)
    if kind is float:
        return True, ("float", struct.pack("<d", one))
    if kind is complex:
        return True, ("complex", struct.pack("<2d", one.real, one.imag))
    if isinstance(one, np.generic):
        return True, (one.dtype.str, one.tobytes())
    if (
        one is None
        or kind in (bool, int, str, bytes, range, slice, type(Ellipsis))
        or isinstance(one, (type, enum.Enum))
    ):
        return True, (kind.__name__, repr(one))
    if isinstance(one, (datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, types.FunctionType)):
        return True, (kind.__name__, repr(one) if not isinstance(one, types.FunctionType) else one.__qualname__)
    if kind in (tuple, frozenset):  # of plain values it is one itself
        told = [_plain(item) for item in itertools.islice(one, 50)]
        if len(told) == len(one) and all(is_plain for is_plain, _ in told):
            return True, (kind.__name__, sorted(map(repr, told)) if kind is frozenset else [text for _, text in told])
    return False, None


def is_plain(one: Any) -> bool:
    """Whether it is a value, which nothing can be changed in, so that it does not matter which object it is."""
    return _plain(one)[0]


def _parts(one: Any) -> tuple[Any, list[Any]]:
    if isinstance(one, np.ndarray):
        if one.dtype == object:
            return one.shape, list(one.ravel())
        return (one.dtype.str, one.shape, one.flags.f_contiguous, one.tobytes(order="A")), []
    if isinstance(one, paddle.Tensor):
        values = one.numpy().tobytes() if one._is_initialized() and one.size else b""
        return (str(one.dtype), tuple(one.shape), one.stop_gradient, one.persistable, values), _attributes(one)
    if isinstance(one, random.Random):
        return random.Random.getstate(one), []
    if isinstance(one, np.random.Generator):
        return None, [one.bit_generator]
    if isinstance(one, np.random.BitGenerator):
        return repr(one.state), []
    if isinstance(one, np.random.RandomState):
        return repr(one.get_state(legacy=False)), []
    if isinstance(one, functools.partial):
        return None, [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, types.MethodType):
        return one.__name__, [one.__self__]
    if isinstance(one, io.BytesIO):
        return (one.getvalue(), one.tell()), []
    if isinstance(one, (bytearray, array, itertools.count)):
        return repr(one), []
    if isinstance(one, dict):
        factory = [one.default_factory] if isinstance(one, collections.defaultdict) else []
        return len(one), [*factory, *one, *one.values(), *_attributes(one)]
    if isinstance(one, (set, frozenset)):
        return len(one), sorted(one, key=repr)
    if isinstance(one, (list, tuple, collections.deque)):
        return getattr(one, "maxlen", None), [*one, *_attributes(one)]
    if isinstance(one, np.random.SeedSequence):
        return repr(one) + str(one.n_children_spawned), []
    if "range_iterator" in type(one).__name__:
        return repr(list(itertools.islice(copy.copy(one), 9))), []
    if hasattr(one, "__reduce__") and type(one).__name__.endswith("iterator"):
        return None, list(one.__reduce__()[1:])
    return None, _attributes(one)


def _attributes(one: Any) -> list[Any]:
    names = [name for base in type(one).__mro__ for name in vars(base).get("__slots__", ()) if hasattr(one, name)]
    return [part for name in sorted({*getattr(one, "__dict__", {}), *names}) for part in (name, getattr(one, name))]


class Thing:
    """An object with whatever attributes it is given."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)
