"""What cannot be saved is refused by its path, a mere handle is told, and what the program makes is left alone."""

from __future__ import annotations

import collections
import cProfile
import csv
import datetime
import decimal
import functools
import io
import itertools
import json
import logging
import pickle
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zlib
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import paddle
import pytest
import xxhash
from graphs import Life, Roots, Thing, after, resumed

from paddle_resume.errors import StateError


def numbers() -> Iterator[int]:
    yield from range(10)


async def coroutine() -> None: ...


REFUSED: dict[str, tuple[Any, str]] = {
    "generator": (numbers, "a running generator"),
    "map": (lambda: map(str, [1]), "an iterator that is under way"),
    "zip": (lambda: zip([1], [2]), "an iterator that is under way"),
    "dict iterator": (lambda: iter({1: 2}), "an iterator that is under way"),
    "cycle": (lambda: itertools.cycle([1]), "an iterator that is under way"),
    "csv reader": (lambda: csv.reader(["a"]), "an iterator that is under way"),
    "matches": (lambda: re.finditer("a", "aa"), "an iterator that is under way"),
    "scanner": (lambda: re.compile("a").scanner("aa"), "a _sre.SRE_Scanner"),
    "decompressor": (zlib.decompressobj, "a zlib.Decompress"),
    "loader's iterator": (
        lambda: iter(paddle.io.DataLoader([1.0, 2.0], batch_size=1)),
        "an iterator that is under way",
    ),
    "array of fields": (lambda: np.zeros(2, "i4,f4"), "a numpy.ndarray"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_bears_state_that_no_record_can_hold_is_refused_before_training(name: str) -> None:
    make, told = REFUSED[name]
    life = Life(lambda: {"collate": Thing(inner={"source": [make()]})})
    with pytest.raises(StateError) as caught:
        life.walker.survey().require_capturable()
    assert f"collate.inner['source'][0]: {told}" in str(caught.value)
    assert "Give its owner state_dict() and set_state_dict()" in str(caught.value)
    with pytest.raises(StateError, match=r"collate\.inner"):
        life.walker.capture()


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_coroutine_is_refused_and_a_generator_that_is_through_is_not() -> None:
    running = coroutine()
    assert Life(lambda: {"callback": Thing(it=running)}).walker.survey().refused
    running.close()
    through = numbers()
    list(through)
    assert not Life(lambda: {"callback": Thing(it=through)}).walker.survey().refused


def test_a_generator_in_a_closure_is_called_by_the_name_of_the_variable() -> None:
    def make() -> Roots:
        source = numbers()
        return {"collate": lambda: next(source)}

    (entry,) = Life(make).walker.survey().refused
    assert (entry.path, entry.standing, entry.what) == ("collate.source", "refused", "a running generator")


def test_what_begins_in_the_course_of_a_run_is_refused_at_the_save() -> None:
    life = Life(lambda: {"callback": Thing(it=None)})
    assert life.walker.survey().refused == []
    life.roots["callback"].it = numbers()
    with pytest.raises(StateError, match=r"callback\.it: a running generator"):
        life.walker.capture()


HANDLES: dict[str, Any] = {
    "lock": threading.Lock,
    "rlock": threading.RLock,
    "event": threading.Event,
    "thread": lambda: threading.Thread(target=print),
    "logger": lambda: logging.getLogger("found"),
    "handler": logging.NullHandler,
    "written file": lambda: tempfile.TemporaryFile("w"),  # noqa: SIM115
    "stdout": lambda: sys.__stdout__,
    "socket": socket.socket,
    "csv writer": lambda: csv.writer(io.StringIO()),
    "process": lambda: subprocess.Popen([sys.executable, "-c", ""]),
    "exception": lambda: ValueError("x"),
    "data frame": lambda: pytest.importorskip("pandas").DataFrame({"a": [1, 2]}),
    "image": lambda: pytest.importorskip("PIL.Image").new("L", (2, 2)),
}


HARMLESS: dict[str, Any] = {
    "csv dict writer": lambda: csv.DictWriter(io.StringIO(), ["a"]),
    "json decoder": json.JSONDecoder,
    "json encoder": json.JSONEncoder,
    "time of a zone": lambda: datetime.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC")),
    "zone": lambda: zoneinfo.ZoneInfo("UTC"),
    "local time": lambda: time.localtime(0),
    "decimal context": decimal.Context,
    "element": lambda: ElementTree.Element("a"),
    "pickler": lambda: pickle.Pickler(io.BytesIO()),
    "profile": cProfile.Profile,
    "compiled by a library": lambda: xxhash.xxh64(),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_decides_nothing_stops_no_run(name: str) -> None:
    make = lambda: {"callback": Thing(log=HARMLESS[name](), seen=[])}  # noqa: E731
    life = Life(make)
    assert life.walker.survey().refused == []
    life.roots["callback"].seen.append(1)
    assert resumed(make, life.saved()).roots["callback"].seen == [1]


@pytest.mark.parametrize("value", [time.localtime(3), datetime.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC"))])
def test_a_time_that_is_noted_later_comes_back(value: Any) -> None:
    life = Life(lambda: {"callback": Thing(at=None)})
    life.roots["callback"].at = value
    found = resumed(lambda: {"callback": Thing(at=None)}, life.saved()).roots["callback"].at
    assert found == value and type(found) is type(value)
    assert getattr(found, "tm_zone", None) == getattr(value, "tm_zone", None)


def test_what_a_user_adds_to_a_handle_is_looked_at() -> None:
    class Counting(logging.Handler):
        count = 0

        def emit(self, record: Any) -> None:
            self.count += 1

    class Beats(threading.Thread):
        beats = 0

    def make() -> Roots:
        return {"callback": Thing(handler=Counting(), thread=Beats())}

    life = Life(make)
    assert life.walker.survey().refused == []
    life.roots["callback"].handler.emit(None)
    life.roots["callback"].thread.beats = 5
    later = resumed(make, life.saved()).roots["callback"]
    assert (later.handler.count, later.thread.beats) == (1, 5)


@pytest.mark.parametrize("name", HANDLES)
def test_a_handle_is_told_by_path_and_stops_no_run(name: str) -> None:
    life = Life(lambda: {"callbacks": [Thing(log=None), Thing(log=HANDLES[name](), seen=[])]})
    survey = life.walker.survey()
    assert survey.refused == []
    assert [entry.path for entry in survey.told] == ["callbacks[1].log"]
    assert survey.summary().startswith("captured 1 values of callbacks[0]; not state: callbacks[1].log (a")
    handle = life.roots["callbacks"][1].log
    life.roots["callbacks"][1].seen.append(1)
    life.roots["callbacks"][0].log = HANDLES[name]()  # another one that comes later
    record, arrays = life.saved()
    assert [path for path, _ in record["told"]][-1] == "callbacks[1].log"
    later = resumed(lambda: {"callbacks": [Thing(log="what is here"), Thing(log=handle, seen=[])]}, (record, arrays))
    assert later.roots["callbacks"][1].log is handle
    is_same = life.roots["callbacks"][0].log is handle  # there is one logger of a name
    assert later.roots["callbacks"][0].log == (handle if is_same else "what is here")
    assert later.roots["callbacks"][1].seen == [1]


def test_handles_in_a_list_that_has_moved_are_left_out_of_it() -> None:
    def make() -> Roots:
        return {"callback": Thing(files=[], names={})}

    def run(roots: Roots) -> None:
        roots["callback"].files += [1, threading.Lock(), 2]
        roots["callback"].names.update(lock=threading.Lock(), a=1)

    _, theirs = after(make, run)
    assert theirs["callback"].files == [1, 2]
    assert theirs["callback"].names == {"a": 1}


def test_a_new_object_with_a_handle_in_it_is_refused() -> None:
    life = Life(lambda: {"callback": Thing(new=None)})
    life.roots["callback"].new = Thing(lock=threading.Lock())
    with pytest.raises(
        StateError, match=r"callback\.new\.lock: a _thread\.lock in a thing that was made in the course"
    ):
        life.walker.capture()


def test_config_is_derived_and_a_cache_is_told() -> None:
    @functools.cache
    def cached(value: int) -> int:
        return value

    class WithProperty:
        kind = property(lambda self: 1 / 0)

    life = Life(lambda: {"callback": Thing(cached=cached, call=len, op=np.less, of=WithProperty(), module=json)})
    cached(3)
    survey = life.walker.survey()
    assert survey.refused == []
    assert [entry.path for entry in survey.told] == ["callback.cached"]
    assert {"callback.call", "callback.op"} <= {entry.path for entry in survey.of("derived")}
    record, _ = life.saved()
    assert not record["moved"]


def test_a_class_may_name_what_the_program_makes_anew() -> None:
    class Reader:
        derived_attributes = ("source", "started")

        def __init__(self) -> None:
            self.source = numbers()
            self.started = 3
            self.seen = 0

    class Special(Reader):
        derived_attributes = ("cache",)

        def __init__(self) -> None:
            super().__init__()
            self.cache = numbers()

    life = Life(lambda: {"callback": Special()})
    survey = life.walker.survey()
    assert survey.refused == []
    paths = {entry.path for entry in survey.of("derived")}
    assert {"callback.source", "callback.started", "callback.cache"} <= paths
    life.roots["callback"].started = life.roots["callback"].seen = 9
    later = resumed(lambda: {"callback": Special()}, life.saved())
    assert later.roots["callback"].seen == 9
    assert later.roots["callback"].started == 3
    assert next(later.roots["callback"].source) == 0


class WithState:
    """An iterator behind state methods of its own."""

    def __init__(self) -> None:
        self.source = numbers()
        self.made = 0
        self.restored = 0

    def take(self) -> int:
        self.made += 1
        return next(self.source)

    def state_dict(self) -> dict[str, Any]:
        return {"made": self.made, "pair": (1, [2.5]), "mean": np.float32(0.1), "weights": paddle.ones([2])}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        assert state["pair"] == (1, [2.5])
        assert type(state["mean"]) is np.float32
        assert state["weights"].numpy().tolist() == [1.0, 1.0]
        self.source = itertools.islice(numbers(), state["made"], None)
        self.made = state["made"]
        self.restored += 1


def test_an_object_with_state_methods_of_its_own_is_saved_by_them() -> None:
    life = Life(lambda: {"sampler": Thing(inner=WithState())})
    assert life.walker.survey().refused == []
    assert [life.roots["sampler"].inner.take() for _ in range(3)] == [0, 1, 2]
    later = resumed(lambda: {"sampler": Thing(inner=WithState())}, life.saved())
    assert later.roots["sampler"].inner.restored == 1
    assert later.roots["sampler"].inner.take() == 3


def test_paddles_own_state_methods_are_not_relied_on() -> None:
    class Mine(paddle.optimizer.lr.StepDecay):
        def __init__(self) -> None:
            super().__init__(0.1, 2)
            self.seen = 0

    _, theirs = after(lambda: {"rate": Mine()}, lambda roots: setattr(roots["rate"], "seen", 3))
    assert theirs["rate"].seen == 3


def test_a_state_dict_that_fails_is_called_by_its_path() -> None:
    class Fails(WithState):
        def state_dict(self) -> dict[str, Any]:
            raise ValueError("no")

    with pytest.raises(StateError, match=r"callback\.state_dict\(\) failed: ValueError: no"):
        Life(lambda: {"callback": Fails()}).walker.capture()


def test_values_of_the_process_are_no_difference_between_two_starts(tmp_path: Path) -> None:
    def make(folder: str = "one") -> Roots:
        begun = time.time()
        return {
            "callback": Thing(begun=begun, t0=time.perf_counter(), id=uuid.uuid4().hex, folder=str(tmp_path / folder))
        }

    life = Life(make)
    time.sleep(0.01)
    record, _ = life.saved()
    later = Life(lambda: make("other"))
    assert later.walker.changes(record) == []
    later.walker.restore(record, {})
    assert later.roots["callback"].folder.endswith("other")


def test_a_clock_that_was_read_since_goes_on_by_the_time_that_has_passed() -> None:
    def make() -> Roots:
        return {"callback": Thing(last=None, started=None, total_time=None, stamp=None)}

    life = Life(make)
    callback = life.roots["callback"]
    callback.last, callback.started, callback.total_time = time.time() - 5, time.perf_counter() - 7, 1234.5
    callback.stamp = int(time.time()) - 9
    saved = life.saved()
    time.sleep(0.2)
    later = resumed(make, saved).roots["callback"]
    assert 4.9 < time.time() - later.last < 5.15
    assert 6.9 < time.perf_counter() - later.started < 7.15
    assert later.total_time == 1234.5
    assert type(later.stamp) is int


def test_an_attribute_that_a_subclass_of_a_container_has_is_saved() -> None:
    class History(list):
        def __init__(self) -> None:
            super().__init__()
            self.best = 0

    def run(roots: Roots) -> None:
        roots["callback"].history.append(3)
        roots["callback"].history.best = 3

    ours, theirs = after(lambda: {"callback": Thing(history=History())}, run)
    assert theirs["callback"].history == [3]
    assert theirs["callback"].history.best == 3
    assert type(theirs["callback"].history) is type(ours["callback"].history)


def test_refusals_are_told_together() -> None:
    life = Life(lambda: {"a": Thing(x=numbers(), y=numbers()), "b": collections.deque([numbers()])})
    with pytest.raises(StateError, match=r"a\.x: a running generator; a\.y: a running generator; b\[0\]: a running"):
        life.walker.survey().require_capturable()
