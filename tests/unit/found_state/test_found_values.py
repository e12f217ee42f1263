"""Each kind of value and container comes back in its own type, bit for bit, in a process that starts anew."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import itertools
import pathlib
import random
import re
import struct
import types
import uuid
from array import array
from typing import Any, NamedTuple

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, after, resumed, written


class Phase(enum.Enum):
    WARM = "warm"
    FULL = [1]  # noqa: RUF012 (the value of a member)


class Mode(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Score:
    name: str
    best: float = 0.0
    history: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Fixed:
    value: Any


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self) -> None:
        self.left = 1


class SlottedToo(Slotted):
    __slots__ = ("more",)


class Names(list):
    pass


class Config(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


LEAVES: dict[str, Any] = {
    "none": None,
    "bool": True,
    "int": 7,
    "large int": 3**700,
    "negative large int": -(1 << 80),
    "float": 0.1,
    "negative zero": -0.0,
    "infinity": -float("inf"),
    "nan with a payload": struct.unpack("<d", struct.pack("<Q", 0x7FF8000000001234))[0],
    "complex": complex(-0.0, float("nan")),
    "str": "grüße \ud800 \x00",
    "long str": "ä" * 5000,
    "bytes": b"\x00\xff",
    "long bytes": bytes(range(256)) * 20,
    "ellipsis": ...,
    "range": range(1 << 70, 3, -2),
    "slice": slice(None, 3, np.int8(2)),
    "float32": np.float32(0.1),
    "float16": np.float16(0.1),
    "longdouble": np.longdouble("0.1"),
    "int8": np.int8(-3),
    "bool_": np.bool_(True),
    "complex64": np.complex64(1 + 2j),
    "np.str_": np.str_("ab"),
    "empty np.str_": np.str_(""),
    "datetime64": np.datetime64("2026-01-02T03:04", "m"),
    "tuple": (1, (2.5, "x"), ()),
    "frozenset": frozenset({1, "a", (2, 3)}),
    "date": datetime.date(2026, 1, 2),
    "datetime": datetime.datetime(2026, 1, 2, 3, 4, 5, 6, fold=1),
    "datetime in a zone": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2), "CEST")),
    "datetime in UTC": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    "time": datetime.time(1, 2, 3),
    "timedelta": datetime.timedelta(-1, 2, 3),
    "decimal": decimal.Decimal("1.10"),
    "fraction": fractions.Fraction(2, 7),
    "uuid": uuid.UUID(int=5),
    "path": pathlib.Path("a/b"),
    "pure path": pathlib.PureWindowsPath("c:/x"),
    "pattern": re.compile("a+", re.IGNORECASE),
    "enum": Phase.WARM,
    "enum with a list": Phase.FULL,
    "flag": Mode.A | Mode.B,
    "dtype": paddle.bfloat16,
    "np.dtype": np.dtype(">f4"),
    "place": paddle.CPUPlace(),
    "class": Score,
    "module": random,
}


def holder() -> Roots:
    # The classes are in the run, so that a record may name them; the module too.
    return {"callback": Thing(value="at start", score=Score("a"), phase=Phase.FULL, mode=Mode.A, module=random)}


@pytest.mark.parametrize("name", LEAVES)
def test_a_value_comes_back_in_its_own_type(name: str) -> None:
    value = LEAVES[name]
    life = Life(holder)
    life.roots["callback"].value = value
    back = resumed(holder, life.saved()).roots["callback"].value
    assert type(back) is type(value)
    # A set of texts has its order from the process and from how it grew.
    assert repr(back) == repr(value) or (name == "frozenset" and back == value)
    assert written(back) == written(value) if not isinstance(value, types.ModuleType) else back is value


def test_a_frozenset_of_numbers_keeps_its_order() -> None:
    life = Life(holder)
    life.roots["callback"].value = frozenset([8, 0, 16, 24])
    back = resumed(holder, life.saved()).roots["callback"].value
    assert list(back) == list(life.roots["callback"].value) != sorted(back)


def test_the_bits_of_numbers_are_kept() -> None:
    for name in ("nan with a payload", "negative zero", "complex", "longdouble"):
        life = Life(holder)
        life.roots["callback"].value = LEAVES[name]
        back = resumed(holder, life.saved()).roots["callback"].value
        assert np.asarray(back).tobytes() == np.asarray(LEAVES[name]).tobytes(), name


def fresh_containers() -> dict[str, Any]:
    shared = [1]
    return {
        "list": [1, [2, 3.5], "x", None],
        "many floats": [n / 7 for n in range(300)],
        "many ints": list(range(-50, 300)),
        "many bools": [n % 3 == 0 for n in range(100)],
        "ints of any size": [1 << n for n in range(100)],
        "tuple": (1, [2], {"a": (3, [4])}),
        "named tuple": Point(1, [2]),
        "set": {1, 2.5, "a", (1, 2), None},
        "set of objects": {Phase.WARM},
        "deque": collections.deque([1, 2, 3], maxlen=3),
        "deque without an end": collections.deque([[1]]),
        "OrderedDict": collections.OrderedDict([("b", 1), ("a", 2)]),
        "defaultdict": collections.defaultdict(list, {"a": [1]}),
        "defaultdict without a factory": collections.defaultdict(None, {"a": [1]}),
        "Counter": collections.Counter("aab"),
        "dict": {"b": 1, "a": {1: 2}},
        "keys of all kinds": {1: "i", 2.5: "f", None: "n", (1, "a"): "t", b"x": "b", Phase.WARM: "e", -0.0: "z"},
        "True and 1.5": {True: 1, 1.5: 2},
        "bytearray": bytearray(b"abc"),
        "array.array": array("d", [0.1, -0.0]),
        "BytesIO": io.BytesIO(b"hello"),
        "list with attributes": Names([1, [2]]),
        "dict with attributes": Config(a=1, b=[2]),
        "namespace": types.SimpleNamespace(a=1, b=[2]),
        "dataclass": Score("a", 0.5, [1]),
        "frozen dataclass": Fixed([1]),
        "slots": Slotted(),
        "slots of a base": SlottedToo(),
        "shared": [shared, shared, {"a": shared}],
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "large array": np.arange(5000, dtype=np.int16),
        "array in Fortran's order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "large array in Fortran's order": np.asfortranarray(np.arange(6000.0).reshape(20, 300)),
        "big-endian array": np.arange(3, dtype=">i4"),
        "array of bools": np.array([True, False]),
        "array of texts": np.array(["ab", "c"]),
        "array of times": np.array(["2026-01-02", "2026-01-03"], "M8[D]"),
        "array without a shape": np.array(2.5),
        "empty array": np.empty((0, 3), np.float16),
        "complex array": np.array([1 + 2j, 3], np.complex64),
        "array of objects": np.array([[1], "a", None], dtype=object),
        "random.Random": random.Random(3),
        "Generator": np.random.default_rng(3),
        "MT19937": np.random.Generator(np.random.MT19937(1)),
        "Philox": np.random.Generator(np.random.Philox(1)),
        "SFC64": np.random.Generator(np.random.SFC64(1)),
        "PCG64DXSM": np.random.Generator(np.random.PCG64DXSM(1)),
        "RandomState": np.random.RandomState(3),
        "SeedSequence": np.random.SeedSequence(7),
        "count": itertools.count(3),
        "count of floats": itertools.count(0.5, 0.25),
        "list iterator": iter([1, [2], 3]),
        "reversed list": reversed([1, 2, 3]),
        "tuple iterator": iter((1, [2], 3)),
        "range iterator": iter(range(3, 30, 4)),
        "long range iterator": iter(range(1 << 70, 1 << 71)),
    }


CONTAINERS = list(fresh_containers())


def change(thing: Any) -> None:
    """Move something in a container of any kind."""
    if isinstance(thing, (list, bytearray)):
        thing.append(thing[0])
        thing[0] = thing[-2] if len(thing) > 2 else thing[0]
    elif isinstance(thing, array):
        thing.append(7)
    elif isinstance(thing, collections.deque):
        thing.rotate(1)
        thing.append("new")
    elif isinstance(thing, set):
        thing.add("new")
        thing.discard(None)
    elif isinstance(thing, dict):
        first = next(iter(thing))
        thing["new"] = [5]
        thing[first] = thing.pop(first)
    elif isinstance(thing, tuple):
        thing[1].append("new")
    elif isinstance(thing, io.BytesIO):
        thing.read(2)
        thing.write(b"zz")
    elif isinstance(thing, np.ndarray):
        if thing.size:
            thing[...] = thing[::-1].copy() if thing.ndim else 7
    elif isinstance(thing, random.Random):
        thing.gauss(0, 1)
    elif isinstance(thing, np.random.Generator):
        thing.standard_normal(3)
        thing.integers(5, dtype=np.int32)
    elif isinstance(thing, np.random.RandomState):
        thing.standard_normal()
    elif isinstance(thing, np.random.SeedSequence):
        thing.spawn(2)
    elif hasattr(type(thing), "__next__"):
        next(thing)
    elif isinstance(thing, Fixed):
        thing.value.append("new")
    elif isinstance(thing, Slotted):
        thing.right = thing.left
        del thing.left
    else:
        vars(thing)["new"] = [1]
        vars(thing).pop(next(iter(vars(thing))))


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_has_moved_in_place_is_put_back_into_the_same_object(name: str) -> None:
    def make() -> Roots:
        thing = fresh_containers()[name]
        return {"callback": Thing(first=thing, second=thing, phase=Phase.WARM)}

    life = Life(make)
    change(life.roots["callback"].first)
    life_later = Life(make)
    before = life_later.roots["callback"].first
    life_later.walker.restore(*life.saved())
    back = life_later.roots["callback"]
    assert written(back) == written(life.roots["callback"])
    assert back.first is back.second
    if not hasattr(type(before), "__next__") and not isinstance(before, np.random.SeedSequence):
        assert back.first is before  # an iterator cannot be set, so another one takes its place


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_appeared_in_the_course_of_a_run_is_made_again(name: str) -> None:
    def make() -> Roots:
        return {"callback": Thing(first=None, kinds=[Score("a"), Point(1, 2), Names(), Config(), Fixed(1), Slotted()])}

    def run(roots: Roots) -> None:
        thing = fresh_containers()[name]
        change(thing)
        roots["callback"].first = roots["callback"].second = thing

    if name in ("slots of a base", "set of objects", "keys of all kinds"):
        make().clear()  # their classes are found in this module
    ours, theirs = after(make, run)
    assert written(theirs["callback"]) == written(ours["callback"])
    assert theirs["callback"].first is theirs["callback"].second


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_process_that_has_gone_on_is_taken_back_to_what_was_saved(name: str) -> None:
    def make() -> Roots:
        return {"callback": Thing(first=fresh_containers()[name])}

    life = Life(make)
    saved, at_start = life.saved(), written(life.roots)
    change(life.roots["callback"].first)
    assert written(life.roots) != at_start or "empty" in name
    life.walker.restore(*saved)
    assert written(life.roots) == at_start


@pytest.mark.parametrize("name", CONTAINERS)
def test_without_a_restore_the_next_process_has_another_state(name: str) -> None:
    life = Life(lambda: {"callback": Thing(first=fresh_containers()[name])})
    change(life.roots["callback"].first)
    other = Life(lambda: {"callback": Thing(first=fresh_containers()[name])})
    assert written(other.roots) != written(life.roots) or "empty" in name


def test_an_iterator_goes_on_where_it_stood_also_at_its_end() -> None:
    for left in range(4):
        ours, theirs = after(
            lambda: {"it": Thing(list=iter([1, 2, 3]), range=iter(range(3)), tuple=iter((1, 2, 3)))},
            lambda roots, left=left: [next(it, None) for it in vars(roots["it"]).values() for _ in range(left + 1)],
        )
        for name in ("list", "range", "tuple"):
            assert list(getattr(theirs["it"], name)) == list(getattr(ours["it"], name))


def test_an_iterator_shares_its_list_with_the_others() -> None:
    def make() -> Roots:
        items = [1, 2, 3]
        return {"callback": Thing(items=items, it=iter(items))}

    ours, theirs = after(make, lambda roots: (next(roots["callback"].it), roots["callback"].items.append(4)))
    for roots in (ours, theirs):
        roots["callback"].items.append(5)
    assert list(theirs["callback"].it) == list(ours["callback"].it) == [2, 3, 4, 5]


def test_generators_that_share_a_bit_generator_still_share_it() -> None:
    def make() -> Roots:
        bits = np.random.PCG64(1)
        return {"callback": Thing(one=np.random.Generator(bits), other=np.random.Generator(bits))}

    ours, theirs = after(make, lambda roots: roots["callback"].one.random())
    for roots in (ours, theirs):
        roots["callback"].one.random()
    assert theirs["callback"].other.random() == ours["callback"].other.random()


def test_children_of_a_generator_are_counted() -> None:
    def spawn(roots: Roots) -> Any:
        return (
            roots["g"].bit_generator._seed_seq.spawn(1)[0]
            if np.lib.NumpyVersion(np.__version__) < "1.25.0"
            else (roots["g"].bit_generator.seed_seq.spawn(1)[0])
        )

    ours, theirs = after(lambda: {"g": np.random.default_rng(3)}, spawn)
    assert spawn(theirs).generate_state(2).tolist() == spawn(ours).generate_state(2).tolist()


def test_a_file_that_is_read_goes_on_where_it_stood(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data.txt").write_text("one\ntwo\nthree\n")

    def make() -> Roots:
        return {"stream": Thing(file=open(tmp_path / "data.txt"), raw=open(tmp_path / "data.txt", "rb"))}

    ours, theirs = after(make, lambda roots: (roots["stream"].file.readline(), roots["stream"].raw.read(5)))
    assert theirs["stream"].file.readline() == "two\n"
    assert theirs["stream"].raw.read() == ours["stream"].raw.read()


def test_attributes_that_come_and_go_do_so_again() -> None:
    def run(roots: Roots) -> None:
        del roots["callback"].gone
        roots["callback"].added = [1]

    ours, theirs = after(lambda: {"callback": Thing(gone=1, stays=2)}, run)
    assert list(vars(theirs["callback"])) == list(vars(ours["callback"])) == ["stays", "added"]


def test_a_value_that_is_back_at_its_first_one_is_put_back_too() -> None:
    def make() -> Roots:
        return {"callback": Thing(wait=0, seen=[])}

    life = Life(make)
    life.roots["callback"].wait = 3
    life.roots["callback"].wait = 0
    saved = life.saved()
    later = Life(make)
    later.roots["callback"].wait = 9  # as `on_train_begin` may leave it
    later.roots["callback"].seen.append(1)
    later.walker.restore(*saved)
    assert later.roots["callback"].wait == 0
    assert later.roots["callback"].seen == []


@pytest.mark.parametrize(
    ("before", "after_it"), [(1, True), (1, 1.0), (0.0, -0.0), (0, False), ("1", 1), ((1,), (True,))]
)
def test_what_python_calls_equal_is_another_value_all_the_same(before: Any, after_it: Any) -> None:
    def run(roots: Roots) -> None:
        roots["callback"].value = after_it
        roots["callback"].values[0] = after_it
        roots["callback"].keys = None
        roots["callback"].table.clear()
        roots["callback"].table[after_it] = 1

    ours, theirs = after(lambda: {"callback": Thing(value=before, values=[before], table={before: 1})}, run)
    assert written(theirs["callback"]) == written(ours["callback"])
