"""References, cycles, very long and very large structures, and identity across the whole run."""

from __future__ import annotations

import collections
import random
import time
from typing import Any

import numpy as np
import pytest
from graphs import Life, Roots, Thing, after, resumed, written

from paddle_resume.errors import StateError
from paddle_resume.found_state import walk


class Link:
    def __init__(self, value: Any = 0) -> None:
        self.value = value
        self.next: Any = None


def test_two_roots_still_share_what_they_shared() -> None:
    def make() -> Roots:
        shared = {"best": [0]}
        return {"callbacks": [Thing(seen=shared)], "metrics": [Thing(seen=shared)]}

    def run(roots: Roots) -> None:
        roots["callbacks"][0].seen["best"].append(1)
        roots["callbacks"][0].last = roots["metrics"][0].last = [2]

    _, theirs = after(make, run)
    callback, metric = theirs["callbacks"][0], theirs["metrics"][0]
    assert callback.seen is metric.seen
    assert callback.last is metric.last
    assert metric.seen == {"best": [0, 1]}


def test_what_was_shared_and_is_no_longer_is_apart_again() -> None:
    def make() -> Roots:
        shared = [1]
        return {"callback": Thing(one=shared, other=shared)}

    def run(roots: Roots) -> None:
        roots["callback"].one = [1]  # equal, and another list
        roots["callback"].one.append(2)

    ours, theirs = after(make, run)
    assert written(theirs["callback"]) == written(ours["callback"])
    assert theirs["callback"].other == [1]


def test_objects_that_changed_places_keep_their_identity() -> None:
    def make() -> Roots:
        return {"callback": Thing(one=[1], other=[2])}

    life, later = Life(make), Life(make)
    ours, theirs = life.roots["callback"], later.roots["callback"]
    one, other = theirs.one, theirs.other
    ours.one, ours.other = ours.other, ours.one
    ours.one.append(3)
    later.walker.restore(*life.saved())
    assert theirs.one is other
    assert theirs.other is one
    assert (theirs.one, theirs.other) == ([2, 3], [1])


def test_cycles_of_all_kinds_come_back() -> None:
    def run(roots: Roots) -> None:
        callback = roots["callback"]
        callback.me = callback
        callback.ring = [1]
        callback.ring.append(callback.ring)
        callback.tuple = ([],)
        callback.tuple[0].append(callback.tuple)
        callback.dict = {"me": callback}
        callback.dict["dict"] = callback.dict
        callback.deque = collections.deque()
        callback.deque.append((callback.deque, callback))

    ours, theirs = after(lambda: {"callback": Thing()}, run)
    assert written(theirs) == written(ours)
    assert theirs["callback"].tuple[0][0] is theirs["callback"].tuple


def test_a_linked_list_of_10_000_objects_is_no_recursion() -> None:
    def make() -> Roots:
        first = last = Link()
        for value in range(1, 10_000):
            last.next = Link(value)
            last = last.next
        return {"callback": Thing(first=first, tail=last, new=None)}

    def run(roots: Roots) -> None:
        roots["callback"].tail.value = -1
        new: Any = None
        for value in range(3000):
            link = Link(value)
            link.next, new = new, link
        roots["callback"].new = new

    ours, theirs = after(make, run)
    assert written(theirs["callback"]) == written(ours["callback"])


def test_tuples_nested_50_000_deep_are_no_recursion() -> None:
    def run(roots: Roots) -> None:
        nested: Any = ()
        for _ in range(50_000):
            nested = (nested,)
        roots["callback"].nested = nested

    def depth(nested: Any) -> int:
        count = 0
        while nested:
            nested, count = nested[0], count + 1
        return count

    _, theirs = after(lambda: {"callback": Thing(nested=None)}, run)
    assert depth(theirs["callback"].nested) == 50_000
    # Python itself takes such a thing apart by recursion.
    while theirs["callback"].nested:
        theirs["callback"].nested = theirs["callback"].nested[0]


def test_the_names_of_a_million_files_are_not_saved_unless_they_move() -> None:
    def make() -> Roots:
        return {"dataset": Thing(files=[f"train/{n:07}.jpg" for n in range(1_000_000)], position=0)}

    life = Life(make)
    life.roots["dataset"].position = 3
    begin = time.perf_counter()
    record, arrays = life.walker.capture()
    assert time.perf_counter() - begin < 1
    assert not arrays
    assert list(record["moved"]) == ["dataset"]
    assert len(str(record)) < 2000


def test_files_in_a_new_order_are_saved_as_that_order() -> None:
    def make() -> Roots:
        return {"dataset": Thing(files=[f"train/{n:07}.jpg" for n in range(5000)])}

    life = Life(make)
    random.Random(1).shuffle(life.roots["dataset"].files)
    del life.roots["dataset"].files[4000:]
    saved = life.saved()
    assert sum(array.nbytes for array in saved[1].values()) == 8 * 4000
    assert resumed(make, saved).roots["dataset"].files == life.roots["dataset"].files


def samples() -> Roots:
    return {"dataset": Thing(samples=[{"file": str(n), "boxes": [[n, n]]} for n in range(3000)])}


def test_very_many_objects_are_told_and_put_back_in_their_new_order() -> None:
    life, later = Life(samples), Life(samples)
    assert [entry.path for entry in life.walker.survey().told] == ["dataset.samples"]
    assert len(life.walker.survey().nodes) < 10
    random.Random(1).shuffle(life.roots["dataset"].samples)
    later.walker.restore(*life.saved())
    assert later.roots["dataset"].samples == life.roots["dataset"].samples


def test_very_many_objects_to_which_others_came_are_refused_by_path() -> None:
    life = Life(samples)
    life.roots["dataset"].samples.append({"file": "new"})
    with pytest.raises(StateError, match=r"dataset\.samples: a list of 3,001 objects, some of which the start had not"):
        life.walker.capture()


def test_very_many_objects_in_which_something_moves_are_refused_by_path() -> None:
    life = Life(samples)
    for sample in life.roots["dataset"].samples:
        sample["boxes"][0].append(1)
    with pytest.raises(StateError, match=r"dataset\.samples: very many objects, in which something has moved"):
        life.walker.capture()


def test_a_history_that_grows_to_very_many_objects_is_saved_whole() -> None:
    def run(roots: Roots) -> None:
        roots["callback"].history += [{"step": n, "loss": n / 7} for n in range(5000)]

    ours, theirs = after(lambda: {"callback": Thing(history=[])}, run)
    assert theirs["callback"].history == ours["callback"].history


def test_more_objects_than_can_be_saved_are_an_error_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(lambda: {"callback": Thing(tree=[])})
    life.roots["callback"].tree += [[[n] for n in range(10)] for _ in range(10)]
    monkeypatch.setattr(walk, "MOST_NODES", 50)
    with pytest.raises(StateError, match=r"More than 50 objects .* from callback\.tree"):
        life.walker.capture()


def test_arrays_go_to_the_file_by_path_and_large_ones_that_have_not_moved_go_nowhere() -> None:
    def make() -> Roots:
        return {"callback": Thing(mean=np.zeros(5000), data=np.zeros(1 << 18), small=np.zeros(3))}

    life = Life(make)
    life.roots["callback"].mean += 1
    life.roots["callback"].small += 1
    record, arrays = life.saved()
    assert list(arrays) == ["callback.mean"]
    assert arrays["callback.mean"].dtype == np.float64
    assert set(record["moved"]) == {"callback.mean", "callback.small"}


def test_the_same_name_is_no_clash() -> None:
    def run(roots: Roots) -> None:
        callback = roots["callback"]
        callback.one = {"a": np.ones(5000), "b": [np.zeros(5000)]}
        callback.other = {"a'": 1, ("a",): np.full(5000, 2.0), ("b",): np.full(5000, 3.0)}

    ours, theirs = after(lambda: {"callback": Thing()}, run)
    assert written(theirs) == written(ours)


def test_plain_values_among_the_roots_are_put_back_too() -> None:
    life = Life(lambda: {"step": 1, "seen": [], "best": None})
    life.walker.roots["step"] = 7
    life.walker.roots["best"] = life.walker.roots["seen"]
    life.walker.roots["seen"].append(3)
    later = resumed(lambda: {"step": 1, "seen": [], "best": None}, life.saved())
    assert later.walker.roots == {"step": 7, "seen": [3], "best": [3]}
    assert later.walker.roots["best"] is later.walker.roots["seen"]


def test_a_second_resume_leads_to_the_same_as_one() -> None:
    def make() -> Roots:
        return {"callback": Thing(history=[], rng=random.Random(1), shared=None)}

    def run(roots: Roots) -> None:
        callback = roots["callback"]
        callback.history.append(callback.rng.random())
        callback.shared = callback.history if callback.shared is None else [callback.shared, callback.history]

    straight = Life(make)
    for _ in range(4):
        run(straight.roots)
    life = Life(make)
    for _ in range(4):
        run(life.roots)
        life = resumed(make, life.saved())
    assert written(life.roots) == written(straight.roots)


class Kept:
    """What a program fills at its start from the files that it has written by then."""

    def __init__(self, records: list[dict[str, int]]) -> None:
        self.step = len(records)
        self.records = records


@pytest.mark.parametrize("moved", [False, True])
def test_what_the_next_process_begins_with_otherwise_is_put_back_if_it_is_saved_whole(moved: bool) -> None:
    life = Life(lambda: {"kept": Kept([])})
    life.walker.save_whole()
    if moved:
        life.roots["kept"].records.append({"step": 4})
    record, arrays = life.walker.capture()
    later = Life(lambda: {"kept": Kept([{"step": 4}, {"step": 6}])})
    later.walker.save_whole()
    later.walker.restore(record, arrays)
    assert written(later.roots["kept"]) == written(life.roots["kept"])


def test_without_that_it_is_not_put_back() -> None:
    """The control of the test above."""
    life = Life(lambda: {"kept": Kept([])})
    record, arrays = life.walker.capture()
    later = Life(lambda: {"kept": Kept([{"step": 6}])})
    later.walker.restore(record, arrays)
    assert written(later.roots["kept"]) != written(life.roots["kept"])
