"""Random generators that belong to an object: Python's and NumPy's, set in place to where they stood."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from typing import Any, Optional

import numpy as np

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

BIT_GENERATORS = (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
_WORDS = 625
# Positions that NumPy takes unchecked, and then reads from memory by: where each lies, and the greatest one.
_POSITIONS = {"MT19937": (("state", "pos"), 624), "Philox": (("buffer_pos",), 4)}


class PythonRandomKind(Kind):
    """A `random.Random`."""

    tag = "random.Random"
    types = (random.Random,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], random.Random.getstate(thing)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        version, words, gauss = random.Random.getstate(thing)
        return [version, sink.put(path, np.array(words, np.uint32)), None if gauss is None else gauss.hex()]

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) != 3 or saved[0] != 3:
            raise Problem("a generator of Python's comes with version 3, its words and a number")
        words = source.get(saved[1])
        if words.shape != (_WORDS,) or words.dtype != np.uint32 or words[-1] > _WORDS - 1:
            raise Problem(f"a generator of Python's has {_WORDS} words")
        try:
            gauss = None if saved[2] is None else float.fromhex(saved[2])
        except (TypeError, ValueError) as error:
            raise Problem("its next number from a normal distribution is damaged") from error
        return 3, tuple(int(word) for word in words), gauss

    def new(self, cls: type, held: Any) -> Any:
        return random.Random(0)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        random.Random.setstate(thing, held)


class BitGeneratorKind(Kind):
    """A bit generator of NumPy's, with how many children its seed sequence has given away."""

    tag = "bit generator"
    types = BIT_GENERATORS

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], _hashable([thing.state, _spawned(thing)])

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return [_packed(thing.state, sink, path), _spawned(thing)]

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) != 2 or type(saved[1]) is not int or not 0 <= saved[1] < 1 << 16:
            raise Problem("a bit generator comes with its state and a count")
        made, state = _checked(saved[0], source)
        return made, state, saved[1]

    def fits(self, thing: Any, held: Any) -> str:
        if type(thing) is not held[0]:
            return f"it was a {held[0].__name__} and is a {type(thing).__name__}"
        return "" if _spawned(thing) <= held[2] else "its seed sequence has given more children away than it had"

    def new(self, cls: type, held: Any) -> Any:
        return held[0](0)

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        thing.state = held[1]
        left = held[2] - _spawned(thing)
        if left > 0:
            _sequence(thing).spawn(left)  # which counts them; there is no other way in


class GeneratorKind(Kind):
    """A `np.random.Generator`: all of it is in its bit generator, which others may share."""

    tag = "np.random.Generator"
    types = (np.random.Generator,)
    is_rewritten = False

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [thing.bit_generator], None

    def edge(self, path: str, label: Any) -> str:
        return f"{path}.bit_generator"

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        if len(values) != 1 or type(values[0]) not in BIT_GENERATORS:
            raise Problem("a generator is made of one bit generator")
        return np.random.Generator(values[0])


class RandomStateKind(Kind):
    """A `np.random.RandomState`."""

    tag = "np.random.RandomState"
    types = (np.random.RandomState,)

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], _hashable(thing.get_state(legacy=False))

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return _packed(thing.get_state(legacy=False), sink, path)

    def check(self, saved: Any, source: ArraySource) -> Any:
        made, state = _checked(saved, source)
        try:
            np.random.RandomState(made(0)).set_state(state)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Problem("the state is none of a RandomState") from error
        return made, state

    def fits(self, thing: Any, held: Any) -> str:
        now = thing.get_state(legacy=False)["bit_generator"]
        return "" if now == held[0].__name__ else f"it drew from a {held[0].__name__} and now from a {now}"

    def new(self, cls: type, held: Any) -> Any:
        return np.random.RandomState(held[0](0))

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        thing.set_state(held[1])


class SeedSequenceKind(Kind):
    """A `np.random.SeedSequence`, which moves when it gives children away."""

    tag = "np.random.SeedSequence"
    types = (np.random.SeedSequence,)
    is_rewritten = False

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], _hashable(self._state(thing))

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        return _packed(self._state(thing), sink, path)

    def check(self, saved: Any, source: ArraySource) -> Any:
        state = _unpacked(saved, source)
        try:
            return np.random.SeedSequence(**{name: self._plain(state[name]) for name in self._NAMES})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Problem("the state is none of a SeedSequence") from error

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        return held

    _NAMES = ("entropy", "spawn_key", "pool_size", "n_children_spawned")

    def _state(self, thing: Any) -> dict[str, Any]:
        return {name: self._listed(getattr(thing, name)) for name in self._NAMES}

    @staticmethod
    def _listed(value: Any) -> Any:
        if isinstance(value, (list, tuple, np.ndarray)):
            return {str(index): int(item) for index, item in enumerate(value)}
        return int(value) if value is not None else "None"

    @staticmethod
    def _plain(value: Any) -> Any:
        return None if value == "None" else list(value.values()) if isinstance(value, dict) else value


def _sequence(thing: Any) -> Any:
    return getattr(thing, "seed_seq", None) or getattr(thing, "_seed_seq", None)  # the latter before NumPy 1.25


def _spawned(thing: Any) -> int:
    return int(getattr(_sequence(thing), "n_children_spawned", 0))


def _checked(saved: Any, source: ArraySource) -> tuple[type, dict[str, Any]]:
    """The bit generator's class and its state, after NumPy has taken it for one."""
    state = _unpacked(saved, source)
    name = state.get("bit_generator") if type(state) is dict else None
    made: Any = next((cls for cls in BIT_GENERATORS if cls.__name__ == name), None)
    if made is None:
        raise Problem("NumPy has no such bit generator")
    try:
        made(0).state = state
        way, most = _POSITIONS.get(made.__name__, ((), 0))
        position: Any = state if way else 0
        for key in way:
            position = position[key]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Problem(f"the state is none of a {made.__name__}") from error
    if type(position) is not int or not 0 <= position <= most:
        raise Problem(f"a {made.__name__} has no position {str(position)[:40]}")
    return made, state


def _hashable(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    return value.tobytes() if isinstance(value, np.ndarray) else value


def _packed(value: Any, sink: ArraySink, path: str) -> Any:
    """A state of NumPy's in a form that JSON keeps: whole numbers of any size, and arrays."""
    if isinstance(value, dict):
        return {"d": {key: _packed(item, sink, path) for key, item in value.items()}}
    if isinstance(value, np.ndarray):
        return {"a": sink.put(path, value)}
    if isinstance(value, float):
        return {"f": value.hex()}
    return {"i": hex(value)} if isinstance(value, (int, np.integer)) else str(value)


def _unpacked(value: Any, source: ArraySource, depth: int = 0) -> Any:
    if type(value) is str:
        return value
    if type(value) is not dict or len(value) != 1 or depth > 4:
        raise Problem("the state of a generator is damaged")
    ((kind, inner),) = value.items()
    try:
        if kind == "d":
            return {str(key): _unpacked(item, source, depth + 1) for key, item in inner.items()}
        if kind == "a":
            return source.get(inner)
        return float.fromhex(inner) if kind == "f" else int(inner, 16)
    except (TypeError, ValueError, AttributeError) as error:
        raise Problem("the state of a generator is damaged") from error
