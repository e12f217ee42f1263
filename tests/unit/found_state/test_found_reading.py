"""Looking at a run has no effect on it, and runs nothing of the user's classes."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, after, resumed, written

from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.walker import Walker


def explodes(*_: Any) -> Any:
    raise AssertionError("code of the user's class was run")


class Hostile:
    """Every way in which a class can answer to being looked at."""

    __eq__ = __ne__ = __len__ = __bool__ = __iter__ = __repr__ = __getitem__ = __contains__ = __call__ = explodes
    __getattribute__ = __setattr__ = __delattr__ = __dir__ = __reduce_ex__ = __reduce__ = __copy__ = __format__ = (
        explodes
    )
    __hash__ = object.__hash__
    looked = property(explodes)

    def __new__(cls) -> Any:
        return object.__new__(cls)

    def __init__(self) -> None:
        object.__getattribute__(self, "__dict__")["seen"] = []


class HostileList(list):
    __iter__ = __len__ = __eq__ = __getitem__ = __setitem__ = __repr__ = __bool__ = append = extend = explodes


class HostileDict(dict):
    __iter__ = __len__ = __eq__ = __getitem__ = __setitem__ = __repr__ = keys = values = items = update = explodes


class Metaclass(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("state_dict", "set_state_dict", "seen"):
            explodes()
        return super().__getattribute__(name)


class WithMetaclass(metaclass=Metaclass):
    pass


def seen(thing: Any) -> list:
    return object.__getattribute__(thing, "__dict__")["seen"]


def test_no_code_of_a_users_class_is_run_in_looking_saving_and_restoring() -> None:
    def make() -> Roots:
        return {
            "callbacks": [Hostile(), HostileList([1]), HostileDict(a=1), WithMetaclass()],
            "holder": Thing(new=None, keys={}),
        }

    life = Life(make)
    ours = life.roots["callbacks"]
    seen(ours[0]).append(1)
    list.append(ours[1], 2)
    dict.__setitem__(ours[2], "b", [3])
    life.roots["holder"].new = [Hostile(), Hostile()]
    life.roots["holder"].keys[ours[0]] = 1
    assert life.walker.survey().summary()
    later = resumed(make, life.saved())
    theirs = later.roots["callbacks"]
    assert seen(theirs[0]) == [1]
    assert [*list.__iter__(theirs[1])] == [1, 2]
    assert [*dict.items(theirs[2])] == [("a", 1), ("b", [3])]
    assert [*later.roots["holder"].keys] == [theirs[0]] or next(iter(later.roots["holder"].keys)) is theirs[0]
    assert len(later.roots["holder"].new) == 2
    assert type(later.roots["holder"].new[0]) is Hostile


def test_looking_moves_no_generator_and_changes_nothing() -> None:
    net = paddle.nn.Sequential(paddle.nn.Linear(3, 3), paddle.nn.Dropout(0.5), paddle.nn.LSTM(3, 3))
    roots = {
        "model": net,
        "optimizer": paddle.optimizer.Adam(0.1, parameters=net.parameters()),
        "callback": Thing(rng=random.Random(1), g=np.random.default_rng(1), it=iter([1, 2]), a=np.zeros(3)),
    }
    before = (random.getstate(), str(np.random.get_state()), str(paddle.get_rng_state()[0].__getstate__()))
    told = written(roots["callback"]), list(vars(net[0])), list(vars(roots["optimizer"]))
    walker = Walker(roots)
    for _ in range(2):
        walker.survey().summary()
        walker.capture()
    assert (written(roots["callback"]), list(vars(net[0])), list(vars(roots["optimizer"]))) == told
    assert (random.getstate(), str(np.random.get_state()), str(paddle.get_rng_state()[0].__getstate__())) == before


def test_the_global_generators_are_left_to_their_owner() -> None:
    def make() -> Roots:
        return {"callback": Thing(draw=random.random, draw_too=np.random.rand, state=np.random.mtrand._rand)}

    life = Life(make)
    random.random()
    np.random.rand()
    record, arrays = life.saved()
    assert (record["moved"], arrays) == ({}, {})
    assert {entry.owner for entry in life.walker.survey().entries()} == {"", "rng"}


def test_a_process_that_runs_on_in_a_thread_meanwhile_is_no_error() -> None:
    thing = Thing(seen=[], table={})
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            thing.seen.append(number)
            thing.table[number % 97] = [number]
            number += 1
            if number % 500 == 0:
                thing.seen.clear()
                thing.table.clear()

    walker = Walker({"callback": thing})
    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(50):
            walker.capture()
    finally:
        stop.set()
        thread.join()


def test_what_has_not_moved_is_not_looked_at_twice() -> None:
    """The second look is made of comparisons by identity alone: a leaf that cannot be compared shows it."""
    life = Life(lambda: {"callback": Thing(values=[float("nan")] * 5, text="x" * 10)})
    record, _ = life.saved()
    assert record["moved"] == {}


def test_whole_objects_that_are_claimed_are_not_entered() -> None:
    def claims(roots: Roots) -> Claims:
        claimed = Claims()
        claimed.object(roots["feed"], "data")
        claimed.attributes(roots["callback"], ["mine"], "someone")
        return claimed

    def make() -> Roots:
        return {"feed": Thing(it=(n for n in [1]), seen=[1]), "callback": Thing(mine=[1], yours=[1])}

    life = Life(make, claims)
    survey = life.walker.survey()
    assert survey.refused == []
    assert {(entry.path, entry.owner) for entry in survey.entries() if entry.owner} == {
        ("feed", "data"),
        ("callback.mine", "someone"),
    }
    life.roots["callback"].mine.append(2)
    life.roots["callback"].yours.append(2)
    life.roots["feed"].seen.append(2)
    later = resumed(make, life.saved(), claims)
    assert later.roots["callback"].mine == [1]
    assert later.roots["callback"].yours == [1, 2]
    assert later.roots["feed"].seen == [1]


def test_every_thing_is_in_exactly_one_class() -> None:
    life = Life(lambda: {"callback": Thing(n=1, log=threading.Lock(), call=len, it=(n for n in [1]))})
    entries = [entry for entry in life.walker.survey().entries() if entry.path.startswith("callback")]
    assert {entry.path: entry.standing for entry in entries} == {
        "callback": "captured",
        "callback.n": "captured",
        "callback.log": "told",
        "callback.call": "derived",
        "callback.it": "refused",
    }
    assert len({entry.path for entry in entries}) == len(entries)


class Counted:
    """State that a class keeps for all its objects."""

    made = 0
    history: list = []  # noqa: RUF012 (what is shared by all of a class)
    LIMIT = 3

    @staticmethod
    def helper() -> None: ...

    @property
    def twice(self) -> int:
        return 2


def test_what_a_class_of_the_users_keeps_for_all_its_objects_is_state_too() -> None:
    Counted.made, Counted.history = 0, []
    life = Life(lambda: {"callback": Counted()})
    Counted.made = 5
    Counted.history.append(1)
    Counted.late = "x"  # type: ignore[attr-defined]
    saved = life.saved()
    del Counted.late  # type: ignore[attr-defined]
    Counted.made, Counted.history = 0, []
    resumed(lambda: {"callback": Counted()}, saved)
    assert (Counted.made, Counted.history, Counted.late) == (5, [1], "x")  # type: ignore[attr-defined]
    del Counted.late  # type: ignore[attr-defined]


@pytest.mark.parametrize("slots", [("a",), ("a", "__dict__"), ()])
def test_classes_of_all_builds_are_read_to_the_last_attribute(slots: tuple[str, ...]) -> None:
    class Built:
        __slots__ = slots

    def make() -> Roots:
        return {"callback": Thing(one=Built() if slots else Thing())}

    def run(roots: Roots) -> None:
        roots["callback"].one.a = [1]
        if slots != ("a",):
            roots["callback"].one.b = 2

    ours, theirs = after(make, run)
    assert written(theirs["callback"].one)[1:] == written(ours["callback"].one)[1:]
    assert theirs["callback"].one.a == [1]
