"""Records that somebody altered: each is one CheckpointError by path, with nothing changed and nothing run."""

from __future__ import annotations

import copy
import ctypes
import io
import json
import random
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, written
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.errors import CheckpointError, StateError

MADE: list[str] = []


class Secret:
    def __new__(cls) -> Any:
        MADE.append("new")
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        MADE.append("state")


def make() -> Roots:
    callback = Thing(
        seen=[],
        table={},
        new=None,
        rng=random.Random(1),
        g=np.random.default_rng(1),
        mt=np.random.RandomState(1),
        a=np.zeros(3),
        w=paddle.zeros([2]),
        it=iter([1, 2, 3]),
        text=io.StringIO(),
        number=ctypes.c_double(),
        keys=[Thing(), Thing()],
        weak=weakref.WeakKeyDictionary(),
        last=None,
        plain=3,
    )
    return {"callback": callback, "call": lambda: callback}


def saved() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    life = Life(make)
    callback = life.roots["callback"]
    callback.seen += [1, 2.5, "x"]
    callback.table["a"] = {1: (2, [3])}
    callback.new = [Thing(x=1), np.ones(5000), paddle.ones([3]), {1, 2}, frozenset([3])]
    callback.rng.random()
    callback.g.random()
    callback.mt.rand()
    callback.a += 1
    callback.text.write("ab")
    callback.number.value = 2.5
    callback.weak[callback.keys[1]] = [1]
    callback.last = weakref.ref(callback.keys[0])
    callback.w.fill_(2)
    next(callback.it)
    callback.plain = 4
    return life.saved()


RECORD, ARRAYS = saved()
NEW = {entry["kind"]: number for number, entry in enumerate(RECORD["new"])}


def at(record: Any, *way: Any) -> Any:
    for step in way:
        record = record[step]
    return record


def put(*way: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        at(record, *way[:-1])[way[-1]] = value

    return change


CALLBACK = ("moved", "callback")
ALTERED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no format": (put("format", value=None), "the record has a format that is not 1"),
    "another format": (put("format", value=2), "the record has a format that is not 1"),
    "moved is a list": (put("moved", value=[]), "a record tells what has moved"),
    "new is a dict": (put("new", value={}), "a record tells what has moved"),
    "an entry is a list": (put(*CALLBACK, value=[]), "callback: an entry has a kind"),
    "an entry has other keys": (put(*CALLBACK, "do", value="x"), "callback: an entry has a kind, and no keys but"),
    "a place that is not there": (
        put("moved", "other.place", value={"kind": "list", "values": []}),
        "nothing at other.place",
    ),
    "another kind": (
        put("moved", "callback.seen", "kind", value="dict"),
        r"callback\.seen: it was a dict and is a builtins:list",
    ),
    "an unknown kind": (put("new", 0, "kind", value="pickle"), "new object 0: no 'pickle' of class"),
    "another class": (
        put(*CALLBACK, "class", value="os:PathLike"),
        "callback: it was a os:PathLike and is a graphs:Thing",
    ),
    "a class of the system": (
        put("new", NEW["object"], "class", value="subprocess:Popen"),
        "the class 'subprocess:Popen' is none of",
    ),
    "a class by a way round": (
        put("new", NEW["object"], "class", value="graphs:np.ndarray"),
        "the class 'graphs:np.ndarray' is none of",
    ),
    "a class that is not in the run's modules": (
        put("new", NEW["object"], "class", value="json.decoder:JSONDecoder"),
        "the class 'json.decoder:JSONDecoder' is none of",
    ),
    "a reference to nowhere": (put(*CALLBACK, "values", 0, value=["#", 99]), "callback: there is no new object 99"),
    "a negative reference": (put(*CALLBACK, "values", 0, value=["#", -1]), "callback: there is no new object -1"),
    "a reference to no place": (put(*CALLBACK, "values", 0, value=["@", "x"]), "callback: there is nothing at x here"),
    "a reference of a wrong type": (put(*CALLBACK, "values", 0, value=["#", [1]]), "callback: there is no new object"),
    "an unknown cell": (put(*CALLBACK, "values", 0, value=["eval", "1"]), "is no value"),
    "a dict for a cell": (put(*CALLBACK, "values", 0, value={"a": 1}), "is no value"),
    "a function of the system": (
        put(*CALLBACK, "values", 0, value=["function", "os:system"]),
        "the function 'os:system' is in none",
    ),
    "a module": (put(*CALLBACK, "values", 0, value=["module", "os"]), "the run refers to no module 'os'"),
    "an attribute that is no name": (put(*CALLBACK, "labels", 0, value=3), "callback: an attribute has a name"),
    "more labels than values": (
        put(*CALLBACK, "labels", value=["new", "plain", "x", "y"]),
        "callback: each attribute has one value",
    ),
    "labels of a list": (
        put("moved", "callback.seen", "labels", value=["a", "b", "c"]),
        r"callback\.seen: a list has no names",
    ),
    "a list as a key": (
        put("moved", "callback.table", "labels", value=[["#", 0]]),
        r"callback\.table: .* cannot be a key",
    ),
    "a list in a set": (
        put("new", NEW["set"], "values", value=[["#", 0]]),
        "new object .: an object of (list|dict) cannot be in a set",
    ),
    "a dtype of Python objects": (
        put("moved", "callback.a", "more", 0, value="|O"),
        r"callback\.a: there is no array of dtype",
    ),
    "an odd dtype": (put("moved", "callback.a", "more", 0, value="<f3"), r"callback\.a: there is no"),
    "another dtype": (
        put("moved", "callback.a", "more", 0, value="<i8"),
        r"callback\.a: its dtype was int64 and is float64",
    ),
    "another shape": (
        put("moved", "callback.a", "more", 1, value=[1, 3]),
        r"callback\.a: its shape was \[1, 3\] and is \[3\]",
    ),
    "a shape that does not fit its bytes": (put("moved", "callback.a", "more", 1, value=[1 << 40]), "is not 24 bytes"),
    "a negative shape": (put("moved", "callback.a", "more", 1, value=[-3]), "there is no array of shape"),
    "an array that is not in the file": (
        put("new", NEW["array"], "more", 3, value="elsewhere"),
        "the file has no array 'elsewhere'",
    ),
    "bytes that are numbers": (
        put("moved", "callback.a", "more", 3, value=7),
        "an array lies in the file, by its name",
    ),
    "a tensor of another type": (
        put("new", NEW["tensor"], "more", 0, value="int64"),
        "new object .: a tensor of int64",
    ),
    "a tensor of no type": (put("new", NEW["tensor"], "more", 0, value="__class__"), "Paddle has no dtype '__class__'"),
    "a tensor of a function's name": (put("new", NEW["tensor"], "more", 0, value="save"), "Paddle has no dtype 'save'"),
    "a vast tensor without values": (
        put("new", NEW["tensor"], "more", value=["float32", [1 << 39], True, False, "claimed", None]),
        "new object .: .* is larger than any",
    ),
    "words of a generator": (put("moved", "callback.rng", "more", 1, 1, value=[5]), r"callback\.rng"),
    "a bit generator's name": (
        put("moved", "callback.g.bit_generator", "more", 0, "d", "bit_generator", value="SystemExit"),
        "NumPy has no such bit generator",
    ),
    "a position outside of a generator": (
        put("moved", "callback.mt", "more", "d", "state", "d", "pos", value={"i": "0x2710"}),
        "a MT19937 has no position 10000",
    ),
    "a position of an iterator": (
        put("moved", "callback.it", "more", 1, value="x"),
        r"callback\.it: an iterator has no position",
    ),
    "an iterator over something else": (
        put("moved", "callback.it", "values", value=[7]),
        r"callback\.it: an iterator over a list",
    ),
    "packed values of the start": (
        put("moved", "callback.seen", "packed", value=["picked", ["<i8", [1], "C", np.zeros(8, np.uint8)]]),
        r"callback\.seen: it picks items that were not there",
    ),
    "packed values of no kind": (
        put("moved", "callback.seen", "packed", value=["objects", ["<i8", [1], "C", np.zeros(8, np.uint8)]]),
        "there are no packed values of kind 'objects'",
    ),
    "a place twice": (put(*CALLBACK, "gone", value=[7]), "callback: what is gone is told by names"),
    "a clock": (put(*CALLBACK, "values", 0, value=["clock", "x", 1.0, False]), "callback: there is no clock 'x'"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_record_is_one_error_by_path_and_changes_nothing(name: str) -> None:
    change, told = ALTERED[name]
    record = copy.deepcopy(RECORD)
    change(record)
    life = Life(make)
    before = written(life.roots["callback"])
    with pytest.raises(CheckpointError, match=told) as caught:
        life.walker.restore(record, ARRAYS)
    assert "Nothing was changed" in str(caught.value)
    assert written(life.roots["callback"]) == before


def test_the_record_as_it_was_is_taken() -> None:
    life = Life(make)
    life.walker.restore(copy.deepcopy(RECORD), ARRAYS)
    assert life.roots["callback"].plain == 4


def test_a_thing_that_is_a_part_of_itself_is_no_endless_loop() -> None:
    record = copy.deepcopy(RECORD)
    last = len(record["new"]) + 1
    record["new"] += [{"kind": "tuple", "values": [["#", last]]}, {"kind": "tuple", "values": [["#", last - 1]]}]
    with pytest.raises(CheckpointError, match="it is a part of itself"):
        Life(make).walker.restore(record, ARRAYS)


@pytest.mark.parametrize("where", ["a key", "an item of a set"])
def test_a_key_that_is_forty_times_two_of_itself_is_not_hashed(where: str) -> None:
    """Its hash would take longer than anybody lives."""
    record = copy.deepcopy(RECORD)
    first = len(record["new"])
    record["new"].append({"kind": "tuple", "values": [1, 2]})
    record["new"] += [{"kind": "tuple", "values": [["#", first + i]] * 2} for i in range(40)]
    if where == "a key":
        record["moved"]["callback.table"]["labels"] = [["#", first + 40]]
    else:
        record["new"][NEW["set"]]["values"] = [["#", first + 40]]
    with pytest.raises(CheckpointError):
        Life(make).walker.restore(record, ARRAYS)


@pytest.mark.parametrize(
    "cell",
    [
        ["fraction", "1e99999999"],
        ["decimal", ["x"]],
        ["pattern", "(" * 5000, 0],
        ["np", "<U99999999", ""],
        ["place", "Place(gpu:0)"],
    ],
)
def test_a_value_that_would_take_for_ever_is_refused_at_once(cell: list[Any]) -> None:
    record = copy.deepcopy(RECORD)
    record["moved"]["callback"]["values"][0] = cell
    with pytest.raises(CheckpointError):
        Life(make).walker.restore(record, ARRAYS)


def test_an_empty_array_of_a_shape_beyond_any_memory_is_refused() -> None:
    record = copy.deepcopy(RECORD)
    record["new"][NEW["array"]]["more"] = ["<f8", [0, 1 << 61, 1 << 61], "C", np.zeros(0, np.uint8)]
    with pytest.raises(CheckpointError, match="there is no empty array of shape"):
        Life(make).walker.restore(record, ARRAYS)


def test_a_class_of_the_users_is_made_without_running_any_of_its_code() -> None:
    def with_secret() -> Roots:
        return {"callback": Thing(known=Secret(), new=None)}

    life = Life(with_secret)
    life.roots["callback"].new = Secret()
    later = Life(with_secret)
    MADE.clear()
    later.walker.restore(*life.saved())
    assert type(later.roots["callback"].new) is Secret
    assert MADE == []


def test_nothing_is_imported_by_a_record() -> None:
    record = copy.deepcopy(RECORD)
    record["new"][NEW["object"]]["class"] = "antigravity:Thing"
    sys.modules.pop("antigravity", None)
    with pytest.raises(CheckpointError):
        Life(make).walker.restore(record, ARRAYS)
    assert "antigravity" not in sys.modules


# ---------------------------------------------------------------- a record in which anything is anything else

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["@", "#", "leave", "function", "callback", "list", "tuple", "object", "np", "tensor", "<f8", "C"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def ways(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way] if way else []
    if isinstance(value, dict):
        found += [each for key, item in value.items() for each in ways(item, (*way, key))]
    elif isinstance(value, list):
        found += [each for index, item in enumerate(value) for each in ways(item, (*way, index))]
    return found


WAYS = [way for way in ways(RECORD) if way[0] in ("moved", "new", "format")]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WAYS), JSON), min_size=1, max_size=3))
def test_whatever_stands_in_a_record_it_is_put_back_or_refused(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    record = copy.deepcopy(RECORD)
    for way, value in changes:
        try:
            at(record, *way[:-1])[way[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken the place away
    try:
        record = decode_state(encode_state("found", record))
    except StateError:
        return
    life = Life(make)
    before = written(life.roots["callback"])
    try:
        life.walker.restore(record, ARRAYS)
    except CheckpointError as error:
        assert len(str(error)) < 3000
        assert "Some of the run is changed already" not in str(error)
        assert written(life.roots["callback"]) == before


def test_a_record_is_plain_json() -> None:
    text = encode_state("found", RECORD)
    assert json.loads(text)["format"] == 1
