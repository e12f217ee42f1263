"""What is reached in roundabout ways: weakly, through views, by thread, in memory of C, in derived values."""

from __future__ import annotations

import collections
import contextvars
import ctypes
import io
import multiprocessing
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, resumed

from paddle_resume.errors import CheckpointError, StateError
from paddle_resume.found_state.leaves import same_cells


class Key:
    def __init__(self) -> None:
        self.seen = 0


class Path(tuple):
    pass


class Loss(float):
    def __new__(cls, value: float) -> Loss:
        made = super().__new__(cls, value)
        made.parts = []
        return made

    parts: list[Any]


class Pair(collections.namedtuple("Pair", "left right")):
    pass


LEVEL = contextvars.ContextVar("LEVEL", default=0)
FREE: contextvars.ContextVar[int] = contextvars.ContextVar("FREE")


def proxied() -> Roots:
    inside = {"count": 0, "seen": []}
    return {"callback": Thing(view=types.MappingProxyType(inside), keys=inside.keys(), change=lambda: inside)}


def weak() -> Roots:
    keys = [Key(), Key()]
    counts = weakref.WeakKeyDictionary({keys[0]: [0]})
    return {
        "callback": Thing(
            keys=keys, counts=counts, last=weakref.ref(keys[0]), some=weakref.WeakSet(keys[:1]), by_name={}
        ),
        "other": Thing(values=weakref.WeakValueDictionary({"a": keys[0]})),
    }


def grow_weak(roots: Roots) -> None:
    it, other = roots["callback"], roots["other"]
    it.counts[it.keys[0]].append(3)
    it.counts[it.keys[1]] = [7]
    it.last = weakref.ref(it.keys[1])
    it.some.add(it.keys[1])
    it.some.discard(it.keys[0])
    other.values["b"] = it.keys[1]


def show_weak(roots: Roots) -> Any:
    it, other = roots["callback"], roots["other"]
    return (
        [it.counts.get(key) for key in it.keys],
        [it.last() is key for key in it.keys],
        [key in it.some for key in it.keys],
        [(name, it.keys.index(value)) for name, value in other.values.items()],
    )


def text(buffer: io.StringIO) -> tuple[str, int]:
    return buffer.getvalue(), buffer.tell()


def local(**values: Any) -> threading.local:
    made = threading.local()
    made.__dict__.update(values)
    return made


class Numbers(ctypes.Structure):
    _fields_ = (("step", ctypes.c_int), ("rates", ctypes.c_double * 2))


def masked() -> np.ma.MaskedArray:
    return np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[False, True, False])


CASES: dict[str, tuple[Callable[[], Roots], Callable[[Roots], Any], Callable[[Roots], Any]]] = {
    "weak": (weak, grow_weak, show_weak),
    "memoryview": (
        lambda: {"callback": Thing(bytes=memoryview(bytearray(3)))},
        lambda roots: roots["callback"].bytes.__setitem__(1, 9),
        lambda roots: bytes(roots["callback"].bytes),
    ),
    "mapping proxy": (
        proxied,
        lambda roots: (roots["callback"].change().update(count=3), roots["callback"].change()["seen"].append(1)),
        lambda roots: (dict(roots["callback"].view), list(roots["callback"].keys)),
    ),
    "thread local": (
        lambda: {"callback": Thing(local=local(count=0))},
        lambda roots: roots["callback"].local.__dict__.update(count=4, more=[1]),
        lambda roots: dict(roots["callback"].local.__dict__),
    ),
    "text buffer": (
        lambda: {"callback": Thing(text=io.StringIO("ab"))},
        lambda roots: (roots["callback"].text.seek(2), roots["callback"].text.write("cd\r\n\ud800")),
        lambda roots: text(roots["callback"].text),
    ),
    "new text buffer": (
        lambda: {"callback": Thing(text=None)},
        lambda roots: setattr(roots["callback"], "text", io.StringIO("ef")),
        lambda roots: text(roots["callback"].text),
    ),
    "shared value": (
        lambda: {"callback": Thing(epoch=multiprocessing.Value("i", 0), bare=multiprocessing.Value("d", lock=False))},
        lambda roots: (setattr(roots["callback"].epoch, "value", 5), setattr(roots["callback"].bare, "value", 0.5)),
        lambda roots: (roots["callback"].epoch.value, roots["callback"].bare.value),
    ),
    "shared array": (
        lambda: {"callback": Thing(seen=multiprocessing.Array("q", 3))},
        lambda roots: roots["callback"].seen.__setitem__(slice(0, 2), [4, 5]),
        lambda roots: list(roots["callback"].seen),
    ),
    "structure of C": (
        lambda: {"callback": Thing(numbers=Numbers())},
        lambda roots: (
            setattr(roots["callback"].numbers, "step", 3),
            roots["callback"].numbers.rates.__setitem__(1, 2),
        ),
        lambda roots: (roots["callback"].numbers.step, list(roots["callback"].numbers.rates)),
    ),
    "derived tuple": (
        lambda: {"callback": Thing(path=Path(([], 1)), other=None)},
        lambda roots: (roots["callback"].path[0].append(2), setattr(roots["callback"], "other", Path((3, [4])))),
        lambda roots: (roots["callback"].path, type(roots["callback"].other), roots["callback"].other),
    ),
    "derived float": (
        lambda: {"callback": Thing(loss=Loss(1.0))},
        lambda roots: (roots["callback"].loss.parts.append(0.5), setattr(roots["callback"], "least", Loss(0.25))),
        lambda roots: [(type(each), each, each.parts) for each in (roots["callback"].loss, roots["callback"].least)],
    ),
    "attribute of a float": (
        lambda: {"callback": Thing(loss=Loss(1.0))},
        lambda roots: setattr(roots["callback"].loss, "parts", (1, 2)),
        lambda roots: (roots["callback"].loss, roots["callback"].loss.parts),
    ),
    "derived named tuple": (
        lambda: {"callback": Thing(pair=Pair(1, [2]))},
        lambda roots: (roots["callback"].pair.right.append(3), setattr(roots["callback"], "now", Pair(4, 5))),
        lambda roots: (roots["callback"].pair, type(roots["callback"].now), roots["callback"].now),
    ),
    "masked array": (
        lambda: {"callback": Thing(array=masked())},
        lambda roots: (
            roots["callback"].array.__setitem__(1, 7.0),
            roots["callback"].array.__setitem__(2, np.ma.masked),
        ),
        lambda roots: (roots["callback"].array.data.tolist(), roots["callback"].array.mask.tolist()),
    ),
    "matrix": (
        lambda: {"callback": Thing(array=np.zeros((2, 2)).view(np.matrix))},
        lambda roots: roots["callback"].array.__setitem__((0, 1), 7.0),
        lambda roots: (type(roots["callback"].array), roots["callback"].array.tolist()),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_reached_in_a_roundabout_way_is_put_back(name: str) -> None:
    make, change, show = CASES[name]
    life = Life(make)
    assert life.walker.survey().refused == []
    fresh = show(make()) if "new" not in name and "derived" not in name else None
    change(life.roots)
    later = resumed(make, life.saved())
    assert show(later.roots) == show(life.roots) != fresh
    again = resumed(make, later.saved())
    assert show(again.roots) == show(life.roots)
    assert same_cells(life.saved()[0]["moved"], again.saved()[0]["moved"])


def test_nothing_has_moved_where_nothing_was_changed() -> None:
    for name, (make, _, show) in CASES.items():
        if "derived float" not in name and "new" not in name and "derived" not in name:
            life = Life(make)
            show(life.roots)
            assert life.saved()[0]["moved"] == {}, name


def test_a_context_variable_is_put_back_in_the_thread_that_trains() -> None:
    def use() -> int:
        return LEVEL.get() + FREE.get()

    LEVEL.set(0), FREE.set(0)
    life = Life(lambda: {"callback": Thing(call=use)})
    LEVEL.set(3), FREE.set(4)
    saved = life.saved()
    LEVEL.set(0), FREE.set(0)
    resumed(lambda: {"callback": Thing(call=use)}, saved)
    assert (LEVEL.get(), FREE.get()) == (3, 4)


def double(grad: Any) -> Any:
    return grad * 2


def halve(grad: Any) -> Any:
    return grad * 0.5


def gradient(layer: paddle.nn.Layer) -> float:
    layer.clear_gradients()
    layer(paddle.ones([1, 1])).sum().backward()
    return float(layer.weight.grad.numpy()[0, 0])


def test_hooks_on_gradients_that_came_and_went_are_put_back() -> None:
    handles = []

    def make() -> Roots:
        model = paddle.nn.Linear(1, 1)
        handles[:] = [model.weight.register_hook(halve)]
        return {"model": model}

    life = Life(make)
    assert life.saved()[0]["moved"] == {}
    life.roots["model"].weight.register_hook(double)
    assert gradient(life.roots["model"]) == 1.0
    saved = life.saved()
    assert gradient(resumed(make, saved).roots["model"]) == 1.0
    life = resumed(make, saved)
    handles[0].remove()
    assert gradient(life.roots["model"]) == 2.0
    later = resumed(make, life.saved())
    assert gradient(later.roots["model"]) == 2.0
    moved = [each.saved()[0]["moved"]["model.weight"] for each in (life, later)]
    assert [(each["labels"], each["gone"]) for each in moved] == [(["hook 1"], ["hook 0"])] * 2


def test_a_hook_on_a_gradient_that_has_no_name_is_refused() -> None:
    life = Life(lambda: {"model": paddle.nn.Linear(1, 1)})
    life.roots["model"].weight.register_hook(lambda grad: grad * 3)
    with pytest.raises(StateError, match=r"model\.weight\.hook 0: the function .*lambda.* was not there at the start"):
        life.saved()


class Warm:
    level = 1


class Hot(Warm):
    pass


def test_an_object_that_gets_another_class_is_refused() -> None:
    life = Life(lambda: {"callback": Thing(phase=Warm())})
    life.roots["callback"].phase.__class__ = Hot
    with pytest.raises(StateError, match=r"callback\.phase: a Warm that became a Hot in the course of the run"):
        life.saved()


def test_a_view_that_cannot_be_written_shows_what_was_put_back() -> None:
    def make() -> Roots:
        whole = np.zeros(6)
        window = whole[2:5]
        window.setflags(write=False)
        return {"callback": Thing(whole=whole, window=window, far=np.broadcast_to(whole[:1], (3,)))}

    life = Life(make)
    life.roots["callback"].whole += np.arange(6) + 1
    later = resumed(make, life.saved()).roots["callback"]
    assert later.window.tolist() == [3, 4, 5] and later.far.tolist() == [1, 1, 1]
    assert not later.window.flags.writeable


@pytest.mark.parametrize("position", [-1, 1 << 40, "0", None])
def test_a_position_far_beyond_the_text_is_refused(position: Any) -> None:
    for kind, at in ((io.StringIO, 0), (io.BytesIO, 1)):
        life = Life(lambda kind=kind: {"callback": Thing(text=kind())})
        life.roots["callback"].text.write("ab" if kind is io.StringIO else b"ab")
        record, arrays = life.saved()
        record["moved"]["callback.text"]["more"][at] = position
        with pytest.raises(CheckpointError, match=r"callback\.text"):
            resumed(lambda kind=kind: {"callback": Thing(text=kind())}, (record, arrays))


def test_a_context_variable_that_has_a_value_already_is_told_before_anything_changes() -> None:
    fresh: contextvars.ContextVar[int] = contextvars.ContextVar("fresh")
    life = Life(lambda: {"callback": Thing(level=fresh, seen=[])})
    life.roots["callback"].seen.append(1)
    saved = life.saved()
    fresh.set(3)
    with pytest.raises(CheckpointError, match="it had no value and has one"):
        life.walker.restore(*saved)


def test_what_is_kept_by_the_id_of_a_thing_finds_it_again() -> None:
    def make() -> Roots:
        model = paddle.nn.Linear(2, 2)
        parameters = model.parameters()
        return {"model": model, "callback": Thing(momentum={id(p): 0.0 for p in parameters}, last=id(parameters[0]))}

    life = Life(make)
    model, callback = life.roots["model"], life.roots["callback"]
    for number, parameter in enumerate(model.parameters()):
        callback.momentum[id(parameter)] += number + 0.5
    callback.last = id(model.bias)
    later = resumed(make, life.saved()).roots
    assert [later["callback"].momentum[id(p)] for p in later["model"].parameters()] == [0.5, 1.5]
    assert later["callback"].last == id(later["model"].bias)
    changed = life.walker.changes(Life(make).saved()[0])
    assert [change.path for change in changed if change.path.startswith("callback")] == []


def test_a_set_goes_on_in_its_own_order_where_one_is_at_hand() -> None:
    def order(numbers: list[int]) -> list[int]:
        life = Life(lambda: {"callback": Thing(seen=set())})
        for number in numbers:
            life.roots["callback"].seen.add(number)
        later = resumed(lambda: {"callback": Thing(seen=set())}, life.saved()).roots["callback"].seen
        assert [*later] == [*life.roots["callback"].seen]
        return [*later]

    assert order([8, 0]) == [8, 0] and order([0, 8]) == [0, 8]  # both fall into one place
