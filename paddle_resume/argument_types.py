"""Whether a value is of an annotated type, and how both are called in a sentence."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a path",
    type(None): "None",
    dict: "a dict",
    list: "a list",
    bytes: "bytes",
}


def fits(value: Any, kind: Any) -> bool:
    """Whether `value` is what the annotation `kind` says, as far as that can be seen without using it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(kind, TypeVar):
        return True
    if origin is Union:
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if kind is None or kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, (bool, np.bool_))
    if kind in (int, float):
        numbers = (int, np.integer) if kind is int else (int, float, np.integer, np.floating)
        return isinstance(value, numbers) and not isinstance(value, (bool, np.bool_))
    if origin is collections.abc.Callable or kind is collections.abc.Callable:
        return callable(value) and not inspect.isclass(value)
    if origin is collections.abc.Iterable:
        return isinstance(value, collections.abc.Iterable) and not isinstance(value, (str, bytes))
    if origin in (collections.abc.Sequence, list, tuple):
        return _is_series(value) and all(fits(each, arguments[0]) for each in value if arguments)
    if origin in (collections.abc.Mapping, dict):
        return isinstance(value, Mapping) and all(fits(each, arguments[1]) for each in value.values())
    try:
        return isinstance(value, origin or kind)
    except TypeError:  # a protocol or a type that no value can be asked for
        return True


def items_type(kind: Any) -> Any:
    """What each item of an annotated list is to be; None for another annotation."""
    if get_origin(kind) is Union:
        return next(filter(None, map(items_type, get_args(kind))), None)
    is_series = get_origin(kind) in (collections.abc.Sequence, list, tuple)
    return get_args(kind)[0] if is_series else None


def expected_words(kind: Any) -> str:
    """What the annotation asks for, as it stands in a sentence."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Union:
        words = list(dict.fromkeys(expected_words(one) for one in arguments))
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is collections.abc.Callable or kind is collections.abc.Callable:
        return "a function or another callable object"
    if origin in (collections.abc.Sequence, list, tuple, collections.abc.Iterable):
        return f"a list of {_bare(expected_words(arguments[0]))}"
    if origin in (collections.abc.Mapping, dict):
        return f"a dict of {_bare(expected_words(arguments[1]))} by name"
    name = str(_NAMES.get(kind) or getattr(kind, "__name__", kind))
    return name if kind in _NAMES else f"{_article(name)} {name}"


def described(value: Any) -> tuple[str, str]:
    """How the caller wrote it, as far as that is short, and what it is."""
    if isinstance(value, type):
        return value.__name__, f"the class {value.__name__} itself"
    if inspect.isroutine(value):
        name = getattr(value, "__name__", "...")
        return name, f"the function {name} itself, which is not called"
    if isinstance(value, str):
        return repr(value) if len(value) < 40 else "'...'", "a text" if value else "an empty text"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value), repr(value)
    if isinstance(value, (list, tuple)):
        classes = [one.__name__ for one in value if isinstance(one, type)]
        if classes:
            return "[...]", f"a {type(value).__name__} with the class {classes[0]} itself"
        inner = sorted({type(one).__name__ for one in value})
        return "[...]", f"a {type(value).__name__} of {', '.join(inner) or 'nothing'}"
    name = type(value).__name__
    return "...", f"{_article(name)} {name}"


def _bare(words: str) -> str:
    return words.partition(" ")[2] if words.startswith(("a ", "an ")) else words


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"


def _is_series(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
