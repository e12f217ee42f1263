"""Functions carry state along: closures, default arguments, partials, bound methods."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, after, resumed, written

from paddle_resume.errors import StateError


def counting(start: int) -> Callable[[], int]:
    count, seen = start, []

    def collate() -> int:
        nonlocal count
        count += 1
        seen.append(count)
        return count

    return collate


def two() -> tuple[Callable[[], None], Callable[[], int]]:
    count = 0

    def up() -> None:
        nonlocal count
        count += 1

    def show() -> int:
        return count

    return up, show


def with_defaults(value: int = 0, seen: list = [], *, cache: dict = {}) -> list:  # noqa: B006 - what is tested
    seen.append(value)
    cache[value] = len(seen)
    return seen


def with_attribute() -> int:
    with_attribute.calls += 1  # type: ignore[attr-defined]
    return with_attribute.calls  # type: ignore[attr-defined]


def plain(value: Any) -> Any:
    return value


def another(value: Any) -> Any:
    return value


class Collate:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def warm(self, value: int) -> None:
        self.seen.append(value)

    def full(self, value: int) -> None:
        self.seen.append(-value)


def test_the_variables_of_a_closure_are_put_back() -> None:
    ours, theirs = after(lambda: {"collate": counting(5)}, lambda roots: [roots["collate"]() for _ in range(3)])
    assert theirs["collate"]() == ours["collate"]() == 9
    assert Life(lambda: {"collate": counting(5)}).roots["collate"]() == 6


def test_a_partial_is_put_back_in_place_also_where_an_iterator_in_it_is_another_one() -> None:
    def make() -> Roots:
        return {"loss": functools.partial(lambda kept, turn: kept.append(next(turn)), [], turn=itertools.count(1))}

    life = Life(make)
    called_by_others = life.roots["loss"]
    called_by_others()
    saved = life.saved()
    called_by_others()
    life.walker.restore(*saved)
    called_by_others()
    assert life.roots["loss"] is called_by_others
    assert called_by_others.args == ([1, 2],)


def test_what_a_restore_made_anew_is_saved_under_its_old_path() -> None:
    def make() -> Roots:
        held = Thing(turn=itertools.count(1), seeds=np.random.SeedSequence(3), pair=(itertools.count(5), [1]))
        return {"callback": held}

    life = Life(make)
    for roots in (life.roots, life.roots):
        next(roots["callback"].turn), next(roots["callback"].pair[0])
        roots["callback"].seeds.spawn(2)
    saved = life.saved()
    later = resumed(make, saved)
    assert written(later.saved()) == written(saved)
    later.walker.restore(*saved)
    assert written(later.saved()) == written(saved)
    later.walker.restore(*Life(make).saved())
    assert later.saved()[0]["moved"] == {}


def test_a_tuple_around_what_is_made_anew_is_another_one_wherever_something_refers_to_it() -> None:
    def make() -> Roots:
        turn = itertools.count(1)
        pair = (turn, [1])
        return {"callback": Thing(queue=[pair, turn], named={"pair": pair}, nested=((pair,), 0))}

    def run(roots: Roots) -> None:
        callback = roots["callback"]
        next(callback.queue.pop())  # The list has moved, and so has what is in the tuple that it still holds.
        callback.named["new"] = [callback.queue[0]]

    ours, theirs = after(make, run)
    assert written(theirs) == written(ours)
    callback = theirs["callback"]
    assert callback.queue[0] is callback.named["pair"] is callback.named["new"][0] is callback.nested[0][0]


def test_functions_that_share_a_variable_still_share_it() -> None:
    def make() -> Roots:
        up, show = two()
        return {"up": up, "show": show}

    _, theirs = after(make, lambda roots: [roots["up"]() for _ in range(3)])
    theirs["up"]()
    assert theirs["show"]() == 4


def test_a_variable_that_was_not_assigned_yet_is_assigned() -> None:
    def late() -> tuple[Callable[[], None], Callable[[], Any]]:
        if random is None:
            value: Any = 0

        def put() -> None:
            nonlocal value
            value = [3]

        return put, lambda: value

    ours, theirs = after(lambda: dict(zip(("put", "get"), late())), lambda roots: roots["put"]())
    assert theirs["get"]() == ours["get"]() == [3]


def test_default_arguments_and_attributes_of_functions_are_put_back() -> None:
    def copies() -> Roots:
        import types

        made = types.FunctionType(with_defaults.__code__, globals(), "with_defaults", (0, []), None)
        made.__kwdefaults__ = {"cache": {}}
        counted = types.FunctionType(with_attribute.__code__, {"with_attribute": None}, "with_attribute")
        counted.__globals__["with_attribute"] = counted
        counted.calls = 0
        return {"defaults": made, "attribute": counted}

    def run(roots: Roots) -> None:
        roots["defaults"](3)
        roots["attribute"]()
        roots["attribute"]()

    ours, theirs = after(copies, run)
    assert theirs["defaults"](4) == ours["defaults"](4) == [3, 4]
    assert theirs["defaults"].__kwdefaults__ == {"cache": {3: 1, 4: 2}}
    assert theirs["attribute"]() == ours["attribute"]() == 3


def test_partials_and_bound_methods_carry_their_objects() -> None:
    def make() -> Roots:
        collate = Collate()
        return {"collate": functools.partial(collate.warm), "other": functools.partial(plain, [1]), "same": collate}

    def run(roots: Roots) -> None:
        roots["collate"](3)
        roots["other"].args[0].append(2)

    _ours, theirs = after(make, run)
    assert theirs["same"].seen == [3]
    assert theirs["other"].args == ([1, 2],)
    theirs["collate"](4)
    assert theirs["same"].seen == [3, 4]


def test_a_method_that_took_the_place_of_another_is_found_again() -> None:
    def make() -> Roots:
        collate = Collate()
        return {"callback": Thing(call=collate.warm, collate=collate, extra=None, draw=None, rng=random.Random(1))}

    def run(roots: Roots) -> None:
        callback = roots["callback"]
        callback.call = callback.collate.full
        callback.extra = functools.partial(callback.call, 5)
        callback.draw = callback.rng.random
        callback.plain = another

    _, theirs = after(make, run)
    callback = theirs["callback"]
    callback.call(3)
    callback.extra()
    assert callback.collate.seen == [-3, -5]
    assert callback.plain is another
    assert callback.draw() == random.Random(1).random()


def test_a_function_of_paddles_is_found_by_its_name() -> None:
    def run(roots: Roots) -> None:
        roots["callback"].loss = paddle.nn.functional.l1_loss

    _, theirs = after(lambda: {"callback": Thing(loss=paddle.nn.functional.mse_loss)}, run)
    assert theirs["callback"].loss is paddle.nn.functional.l1_loss


class Lambdas:
    def __init__(self) -> None:
        self.total = 0
        self.begin(0)

    def begin(self, epoch: int) -> None:
        seen: list[int] = []
        self.add = lambda value: (seen.append(value), len(seen) + epoch)[1]


def test_a_lambda_that_is_made_anew_in_each_epoch_stands_for_the_first_one() -> None:
    def run(roots: Roots) -> None:
        roots["callback"].add(7)
        roots["callback"].begin(5)
        roots["callback"].add(7)
        roots["callback"].add(7)

    ours, theirs = after(lambda: {"callback": Lambdas()}, run)
    assert theirs["callback"].add(1) == ours["callback"].add(1) == 8


def test_a_function_that_no_record_can_hold_is_refused_by_path() -> None:
    life = Life(lambda: {"callback": Thing(hook=None)})
    life.roots["callback"].hook = lambda: 1
    with pytest.raises(StateError, match=r"callback\.hook: the function .*<lambda>, which was not there at the start"):
        life.walker.capture()


def test_what_a_record_calls_a_function_is_looked_up_in_the_users_modules_alone() -> None:
    life = Life(lambda: {"callback": Thing(call=plain)})
    life.roots["callback"].call = another
    record, arrays = life.saved()
    record["moved"]["callback"]["values"] = [["function", "os:system"]]
    later = Life(lambda: {"callback": Thing(call=plain)})
    with pytest.raises(Exception, match=r"callback: the function 'os:system' is in none of the modules"):
        later.walker.restore(record, arrays)


def test_hooks_of_a_layer_that_are_bound_methods_come_back() -> None:
    class Watch:
        def __init__(self) -> None:
            self.calls = 0

        def look(self, layer: Any, inputs: Any, output: Any) -> None:
            self.calls += 1

    def make() -> Roots:
        return {"model": paddle.nn.Linear(2, 2), "callback": Watch()}

    ours, theirs = after(make, lambda roots: roots["model"].register_forward_post_hook(roots["callback"].look) and None)
    for roots in (ours, theirs):
        roots["model"](paddle.ones([1, 2]))
        assert roots["callback"].calls == 1


COUNT = 0
SEEN: list[int] = []
UNUSED: list[int] = []
NAMES = ("a", "b")
RUNNING = (number for number in [1])


def with_globals(value: int) -> int:
    global COUNT
    COUNT += 1
    SEEN.append(value)
    return COUNT if NAMES else 0


def going_through(value: int) -> int:
    return value + next(RUNNING)


class WithGlobals:
    def __call__(self, value: int) -> int:
        return with_globals(value)


def test_an_iterator_that_code_of_the_run_goes_through_by_name_is_refused() -> None:
    life = Life(lambda: {"callback": Thing(collate=going_through)})
    assert [(entry.path, entry.what) for entry in life.walker.survey().refused] == [
        (f"<module {__name__}>.RUNNING", "a running generator")
    ]


@pytest.mark.parametrize("collate", [with_globals, WithGlobals()], ids=["function", "class"])
def test_module_variables_that_code_of_the_run_changes_are_state_too(collate: Any) -> None:
    global COUNT
    COUNT = 0
    SEEN.clear()
    life = Life(lambda: {"callback": Thing(collate=collate)})
    assert life.walker.survey().refused == []
    collate(3)
    collate(4)
    UNUSED.append(1)
    saved = life.saved()
    assert set(saved[0]["moved"]) == {f"<module {__name__}>", f"<module {__name__}>.SEEN"}
    COUNT = 0
    SEEN.clear()
    later = Life(lambda: {"callback": Thing(collate=collate)})
    later.walker.restore(*saved)
    assert (COUNT, SEEN) == (2, [3, 4])
    assert collate(5) == 3
    UNUSED.clear()
