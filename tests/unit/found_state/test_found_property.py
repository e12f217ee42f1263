"""Runs that hypothesis makes up: objects of all kinds, tied together, changed at random, saved and resumed anywhere."""

from __future__ import annotations

import collections
import itertools
import random
from typing import Any, NamedTuple

import numpy as np
import paddle
from graphs import Life, Roots, Thing, is_plain, resumed, written
from hypothesis import given, settings
from hypothesis import strategies as st


class Pair(NamedTuple):
    one: Any
    other: Any


class Slotted:
    __slots__ = ("a", "b", "c", "d")


class Names(list):
    pass


class Table(dict):
    pass


LEAVES = (
    0,
    1,
    -1,
    True,
    None,
    0.0,
    -0.0,
    0.1,
    float("nan"),
    "",
    "a",
    b"x",
    1j,
    10**30,
    (),
    (1, "a"),
    np.float32(0.1),
    3.5,
)
KEYS = ("a", "b", 1, 2.5, None, (1, 2), b"k", True)
ATTRIBUTES = ("a", "b", "c", "d")
Op = tuple[int, int, int, int]


def new_thing(code: int, number: int, old: list[Any]) -> Any:
    """A new object; `old` are those that it may refer to."""
    one, other = old[number % len(old)], old[(number * 7 + 1) % len(old)]
    makers = (
        list,
        dict,
        lambda: Thing(),
        lambda: [one, LEAVES[number % len(LEAVES)]],
        lambda: {KEYS[number % len(KEYS)]: other},
        lambda: Thing(a=one, b=number),
        lambda: (one, number),
        lambda: Pair(other, [number]),
        lambda: collections.deque([one], maxlen=number % 4 + 1),
        lambda: collections.OrderedDict([("z", one), ("a", number)]),
        lambda: collections.defaultdict(list, {number: [other]}),
        lambda: {number % 5, "s", (1, number)},
        lambda: np.arange(number % 7, dtype=np.int32),
        lambda: np.array([one, None, number], dtype=object),
        lambda: paddle.to_tensor(np.arange(number % 5 + 1, dtype=np.float32)),
        lambda: random.Random(number),
        lambda: np.random.default_rng(number),
        lambda: itertools.count(number),
        lambda: iter([number, 1, one]),
        lambda: Slotted(),
        lambda: Names([one]),
        lambda: Table(a=other),
        lambda: ((one, ()), frozenset({number})),
        lambda: collections.Counter({"a": number}),
        lambda: bytearray(b"ab"),
        lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    )
    return makers[code % len(makers)]()


def reachable(roots: Roots) -> list[Any]:
    """All objects in an order that is the same in any process."""
    found: dict[int, Any] = {}
    waiting: list[Any] = [*reversed(list(roots.values()))]
    while waiting:
        one = waiting.pop()
        if id(one) in found or is_plain(one):
            continue
        found[id(one)] = one
        if isinstance(one, dict):
            waiting += reversed([*one.values()])
        elif isinstance(one, (list, tuple, collections.deque)) or (isinstance(one, np.ndarray) and one.dtype == object):
            waiting += reversed([*one])
        waiting += [getattr(one, name) for name in reversed(ATTRIBUTES) if _has(one, name)]
    return list(found.values())


def _has(one: Any, name: str) -> bool:
    return isinstance(one, (Thing, Slotted, Names, Table)) and hasattr(one, name)


def carry_out(roots: Roots, ops: list[Op]) -> None:
    for op in ops:
        _carry_out(reachable(roots), *op)


def _carry_out(objects: list[Any], target: int, what: int, where: int, number: int) -> None:
    thing = objects[target % len(objects)]
    if isinstance(thing, (random.Random, np.random.Generator)):
        thing.random()
    elif hasattr(type(thing), "__next__"):
        next(thing, None)
    elif isinstance(thing, paddle.Tensor):
        thing.add_(paddle.ones_like(thing))
    elif isinstance(thing, set):
        thing.symmetric_difference_update({number % 3, "t"})
    elif isinstance(thing, bytearray):
        thing.append(number % 256)
    elif isinstance(thing, np.ndarray) and thing.dtype != object:
        thing += 1
    elif what % 4 == 0:
        _take_away(thing, where)
    else:
        value = (
            LEAVES[number % len(LEAVES)]
            if what % 4 == 1
            else objects[number % len(objects)]
            if what % 4 == 2
            else new_thing(where, number, objects)
        )
        _put(thing, where, value)


def _put(thing: Any, where: int, value: Any) -> None:
    if isinstance(thing, (Thing, Slotted)) or (isinstance(thing, (Names, Table)) and where % 3 == 0):
        setattr(thing, ATTRIBUTES[where % 4], value)
    elif isinstance(thing, collections.Counter):
        thing[str(where % 5)] = 1
    elif isinstance(thing, dict):
        thing[KEYS[where % len(KEYS)]] = value
    elif isinstance(thing, list):
        thing.insert(where % (len(thing) + 1), value)
    elif isinstance(thing, collections.deque):
        thing.append(value)
    elif isinstance(thing, np.ndarray):
        thing[where % len(thing)] = value


def _take_away(thing: Any, where: int) -> None:
    if isinstance(thing, (Thing, Slotted)):
        if hasattr(thing, ATTRIBUTES[where % 4]):
            delattr(thing, ATTRIBUTES[where % 4])
    elif isinstance(thing, dict) and thing:
        thing.pop(list(thing)[where % len(thing)])
    elif isinstance(thing, (list, collections.deque)) and thing:
        del thing[where % len(thing)]


OPS = st.lists(st.tuples(*(st.integers(0, 200) for _ in range(4))), max_size=25)


@settings(max_examples=150, deadline=None)
@given(OPS, OPS, OPS, OPS)
def test_any_run_goes_on_from_any_save_as_if_nothing_had_been(
    built: list[Op], before: list[Op], between: list[Op], after: list[Op]
) -> None:
    def make() -> Roots:
        kinds = [Thing(), Slotted(), Names(), Table(), Pair(1, 2)]
        roots = {"callbacks": [Thing(a=[], b={}), Thing()], "dataset": Thing(a=Slotted()), "classes": kinds}
        carry_out(roots, built)
        return roots

    straight = Life(make)
    assert written(Life(make).roots) == written(straight.roots)
    carry_out(straight.roots, before)
    first = straight.saved()
    once = resumed(make, first)
    assert written(once.roots) == written(straight.roots)

    carry_out(straight.roots, between)
    carry_out(once.roots, between)
    assert written(once.roots) == written(straight.roots)
    twice = resumed(make, once.saved())  # interrupted twice
    assert written(twice.roots) == written(straight.roots)

    carry_out(straight.roots, after)
    carry_out(twice.roots, after)
    assert written(twice.roots) == written(straight.roots)
    once.walker.restore(*first)  # and taken back in the process that has gone on
    assert written(once.roots) == written(resumed(make, first).roots)


def test_what_the_test_compares_would_show_a_difference() -> None:
    """Its negative control: without a restore most made-up runs differ."""
    generator = random.Random(1)
    differing = 0
    for _ in range(30):
        ops = [tuple(generator.randrange(200) for _ in range(4)) for _ in range(10)]
        roots, other = ({"callbacks": [Thing(a=[], b={})], "classes": [Thing()]} for _ in range(2))
        carry_out(roots, ops)  # type: ignore[arg-type]
        differing += written(roots) != written(other)
    assert differing >= 25
