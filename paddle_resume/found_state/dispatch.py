"""Which kind an object is of: decided once for each type, and kept."""

from __future__ import annotations

import csv
import datetime
import enum
import io
import logging
import random
import threading
import types
import weakref
import zoneinfo
from collections.abc import Callable
from typing import Any, Union

import numpy as np
import paddle

from paddle_resume.found_state import generator_kinds as generators
from paddle_resume.found_state import indirect_kinds as indirect
from paddle_resume.found_state import uncaptured
from paddle_resume.found_state.array_kinds import array_kind
from paddle_resume.found_state.buffer_kinds import SHARED, BytesKind, NumbersOfCKind, TextBufferKind, is_number_of_c
from paddle_resume.found_state.container_kinds import (
    CONTAINERS,
    FrozenSetKind,
    NamedTupleKind,
    TupleKind,
    fields_of,
)
from paddle_resume.found_state.function_kinds import (
    CacheKind,
    CellKind,
    DescriptorKind,
    FunctionKind,
    MethodKind,
    PartialKind,
)
from paddle_resume.found_state.iterator_kinds import CountKind, PositionKind
from paddle_resume.found_state.kind import Kind, is_a
from paddle_resume.found_state.leaves import ALWAYS, main_programs
from paddle_resume.found_state.object_kinds import (
    ClassKind,
    ObjectKind,
    WrapperKind,
    has_hidden_storage,
)
from paddle_resume.found_state.owner_kind import OwnerKind, is_owner
from paddle_resume.found_state.subclass_kinds import ArraySubclassKind, SubclassKind, ValueKind
from paddle_resume.found_state.tensor_kind import TensorKind
from paddle_resume.found_state.written_file_kind import FOLLOWED, WRITTEN_FILE

LEAF = Kind()
"""What holds nothing that can change."""
OWNER = OwnerKind()
CLASS = ClassKind()
_LOOKED_INTO = (paddle.nn.Layer, paddle.optimizer.Optimizer, paddle.optimizer.lr.LRScheduler)
_WRAPPED = (*_LOOKED_INTO, paddle.amp.AmpScaler)
_OF_CSV = (type(csv.writer(io.StringIO())), type(csv.get_dialect("excel")))
# Classes of handles from which users derive their own; what those add to them is looked at.
_WITH_STATE = (logging.Handler, logging.Filter, logging.Formatter, threading.Thread)
_NESTED = 3  # tuples in tuples that count as one value
_Rule = Union[Kind, Callable[[Any], Kind]]

_FUNCTION, _METHOD, _TUPLE, _NAMED, _FROZENSET = (
    FunctionKind(),
    MethodKind(),
    TupleKind(),
    NamedTupleKind(),
    FrozenSetKind(),
)
_RANDOM = generators.PythonRandomKind()
_THREAD_LOCAL, _NUMBERS = indirect.ThreadLocalKind(), NumbersOfCKind()
_TENSORS: dict[type, Kind] = {cls: TensorKind(cls) for cls in (paddle.Tensor, paddle.base.framework.EagerParamBase)}
_SIMPLE: tuple[Kind, ...] = (
    *(*CONTAINERS, BytesKind(), TextBufferKind(), CellKind(), PartialKind(), CountKind(), PositionKind()),
    *(DescriptorKind(), CacheKind(), *indirect.KINDS),
    *(generators.BitGeneratorKind(), generators.GeneratorKind(), generators.RandomStateKind()),
    generators.SeedSequenceKind(),
)


def kind_of(thing: Any) -> Kind:
    """The kind of any object; LEAF for what cannot change by itself."""
    rule = _RULES.get(type(thing))
    if rule is None:
        rule = _RULES[type(thing)] = _learn(type(thing))
    return rule if isinstance(rule, Kind) else rule(thing)


def kinds_to_make(tag: str, cls: Any) -> tuple[Kind, type]:
    """The kind that a record calls `tag`, and its class: that of the record or, if that names none, the kind's own.

    OPAQUE if no object of that class can be made as that kind.
    """
    kind = CLASS if tag == CLASS.tag else _BY_TAG.get(tag)
    if kind is None and cls is not None:
        rule = _RULES.get(cls) or _learn(cls)
        kind = rule if isinstance(rule, Kind) and rule.tag == tag else None
    cls = kind.types[0] if kind is not None and cls is None and kind.types else cls
    return (kind, cls) if kind is not None and cls is not None and kind.is_of(cls) else (uncaptured.OPAQUE, object)


def _of_tuple(thing: tuple) -> Kind:
    return LEAF if _are_leaves(thing, _NESTED) else _TUPLE


def _of_frozenset(thing: frozenset) -> Kind:
    return LEAF if _are_leaves(thing, _NESTED) else _FROZENSET


def _are_leaves(items: Any, depth: int) -> bool:
    for item in items:
        if type(item) in (tuple, frozenset):
            if depth == 0 or not _are_leaves(item, depth - 1):
                return False
        elif kind_of(item) is not LEAF:
            return False
    return True


def _of_slice(thing: slice) -> Kind:
    parts = (thing.start, thing.stop, thing.step)
    return LEAF if all(type(part) in ALWAYS for part in parts) else uncaptured.OPAQUE


def _of_time(thing: Any) -> Kind:
    zone = thing.tzinfo
    return LEAF if zone is None or type(zone) in (datetime.timezone, zoneinfo.ZoneInfo) else uncaptured.OPAQUE


def _of_array(thing: np.ndarray) -> Kind:
    return array_kind(thing) or uncaptured.OPAQUE


def _of_method(thing: types.MethodType) -> Kind:
    return _METHOD if type(thing.__func__) is types.FunctionType else uncaptured.PROGRAM


def _of_builtin(thing: Any) -> Kind:
    owner = thing.__self__
    return uncaptured.PROGRAM if owner is None or is_a(owner, (types.ModuleType, type)) else _METHOD


def _of_function(thing: types.FunctionType) -> Kind:
    top = (thing.__module__ or "").partition(".")[0]
    return uncaptured.PROGRAM if top in ("paddle", "numpy") else _FUNCTION


def _of_numpy_dtype(thing: np.dtype) -> Kind:
    return LEAF if thing.kind in "biufcUSOMm" else uncaptured.PROGRAM


def _is_wrapped(thing: Any) -> bool:
    """Whether Paddle's wrappers for several processes hold it for somebody, or it is one of them that holds such."""
    if is_a(thing, _WRAPPED):
        return True
    held = vars(thing).values() if uncaptured.may_wrap(type(thing)) else ()
    return any(is_a(each, _WRAPPED) for each in held)


def _of_file(thing: Any) -> Kind:
    return WRITTEN_FILE if not thing.closed and thing in FOLLOWED else uncaptured.kind_of_file(thing)


def _of_paddles_program(thing: Any) -> Kind:
    return LEAF if any(thing is program for program in main_programs().values()) else uncaptured.INSIDE


def _of_random(thing: random.Random) -> Kind:
    if is_a(thing, random.SystemRandom):
        return uncaptured.PROGRAM
    # Python keeps one of its own numbers among the attributes; others are those of a class that derives from it.
    return _RANDOM if not set(object.__getattribute__(thing, "__dict__")) - {"gauss_next"} else uncaptured.OPAQUE


_ASKED: dict[Any, Callable[[Any], Kind]] = {
    tuple: _of_tuple,
    frozenset: _of_frozenset,
    slice: _of_slice,
    **dict.fromkeys((datetime.datetime, datetime.time), _of_time),
    np.ndarray: _of_array,
    random.Random: _of_random,
    types.FunctionType: _of_function,
    types.MethodType: _of_method,
    types.BuiltinMethodType: _of_builtin,
    **dict.fromkeys((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType), uncaptured.kind_of_generator),
    **dict.fromkeys((*WRITTEN_FILE.types, io.BufferedReader), _of_file),
    **dict.fromkeys(map(type, main_programs().values()), _of_paddles_program),
}
_RULES: dict[type, _Rule] = {
    **{cls: kind for kind in _SIMPLE for cls in kind.types},
    **_TENSORS,
    **_ASKED,
    types.SimpleNamespace: ObjectKind(types.SimpleNamespace),
    **dict.fromkeys(ALWAYS, LEAF),
}
_BY_TAG: dict[str, Kind] = {
    kind.tag: kind
    for kind in (
        *_SIMPLE,
        *_TENSORS.values(),
        *(_TUPLE, _NAMED, _FROZENSET, _METHOD, _RANDOM, _THREAD_LOCAL, _NUMBERS, WRITTEN_FILE),
        *map(array_kind, (np.empty(0), np.empty(0, object))),
    )
    if kind is not None
}


def _learn(cls: type) -> _Rule:
    """The rule for a type that has not been met before."""
    if issubclass(cls, (enum.Enum, type)):
        return LEAF
    if issubclass(cls, paddle.Tensor):
        return TensorKind(cls)
    if issubclass(cls, _LOOKED_INTO):
        return ObjectKind(cls)
    if issubclass(cls, np.dtype):
        return _of_numpy_dtype
    if issubclass(cls, random.Random):
        return _of_random
    return _learn_outside(cls) or _learn_inside(cls)


def _learn_outside(cls: type) -> Any:
    """The rule for what is told or left out, or None."""
    if issubclass(cls, threading.local):
        return _THREAD_LOCAL
    if issubclass(cls, SHARED) or is_number_of_c(cls):
        return _NUMBERS
    if issubclass(cls, (weakref.ReferenceType, weakref.finalize)) or cls in _OF_CSV:
        return uncaptured.HANDLE
    if uncaptured.is_running(cls):
        return uncaptured.ITERATOR
    if issubclass(cls, _WITH_STATE) and uncaptured.is_users(uncaptured.module_of(cls)):
        return ObjectKind(cls)
    if issubclass(cls, (np.memmap, BaseException)) or uncaptured.is_handle(cls):
        return uncaptured.HANDLE
    if uncaptured.is_foreign_data(cls):
        return uncaptured.DATA
    if uncaptured.is_inside_paddle(cls):
        return WrapperKind(cls, _is_wrapped) if uncaptured.may_wrap(cls) else uncaptured.INSIDE
    return uncaptured.PROGRAM if uncaptured.is_of_the_program(cls) else None


def _learn_inside(cls: type) -> _Rule:
    if is_owner(cls):
        return OWNER
    if fields_of(cls) is not None:
        return _NAMED
    for container in CONTAINERS:
        if issubclass(cls, container.types):
            return SubclassKind(cls, container)
    for base in (int, float, complex, str, bytes, tuple, frozenset):
        if issubclass(cls, base):
            return ValueKind(cls, base)
    if issubclass(cls, np.ndarray):
        return ArraySubclassKind(cls)
    if not has_hidden_storage(cls):
        return ObjectKind(cls)
    if uncaptured.is_another_librarys(uncaptured.module_of(cls)):
        return uncaptured.DATA
    return uncaptured.PROGRAM if uncaptured.top_level(cls) == "numpy" else uncaptured.OPAQUE
