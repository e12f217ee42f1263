"""What was the same in two looks is compared all at once in the next ones: a change just behind a look is seen."""

from __future__ import annotations

import collections
import gc
import itertools
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, resumed, written

from paddle_resume.checkpoint.record import encode_state
from paddle_resume.found_state import array_kinds
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.paddle_rules import claim_model
from paddle_resume.found_state.steady import Steady

A, B = [1], [1]


def doubled(gradient: Any) -> Any:
    return gradient * 2


class Other(Thing):
    pass


class Slots:
    __slots__ = ("kept",)


def make() -> Roots:
    shared = [7]
    slots = Slots()
    slots.kept = 1
    net = paddle.nn.Sequential(paddle.nn.Linear(2, 2), paddle.nn.ReLU(), paddle.nn.Linear(2, 2))
    return {
        "callback": Thing(
            first=[1, 2],
            second=[3, 4],
            empty=[],
            table={"a": 1, "b": 2},
            ordered=collections.OrderedDict(a=1, b=2),
            names={1, 2},
            one=shared,
            other=shared,
            apart=[7],
            value=0.0,
            inner=Thing(x=1),
            slots=slots,
            array=np.zeros(4),
            deque=collections.deque([1, 2]),
            nested={"a": {"b": {"c": [1]}}},
        ),
        "model": net,
    }


def claims(roots: Roots) -> Claims:
    """As in a run: what the model's tensors hold is its owner's."""
    found = Claims()
    claim_model(found, roots["model"], "model")
    return found


def _swap_keys(roots: Roots) -> None:
    table = roots["callback"].table
    a, b = table.pop("a"), table.pop("b")
    table.update(b=a, a=b)


def _rename(roots: Roots) -> None:
    table = roots["callback"].table
    b = table.pop("b")
    table["c"] = b


def _reorder(roots: Roots) -> None:
    table = roots["callback"].table
    table["a"] = table.pop("a")


def _move_to_the_next(roots: Roots) -> None:
    callback = roots["callback"]
    callback.second.insert(0, callback.first.pop())


def _replace_dict(roots: Roots) -> None:
    inner = roots["callback"].inner
    inner.__dict__ = {"x": 2}


def _become(roots: Roots) -> None:
    roots["callback"].inner.__class__ = Other


CHANGES: dict[str, Callable[[Roots], Any]] = {
    "an item": lambda roots: roots["callback"].first.__setitem__(0, 5),
    "one more": lambda roots: roots["callback"].first.append(3),
    "one less": lambda roots: roots["callback"].first.pop(),
    "the first into what was empty": lambda roots: roots["callback"].empty.append(1),
    "the order": lambda roots: roots["callback"].first.reverse(),
    "an item that goes to the next list": _move_to_the_next,
    "another type of the same number": lambda roots: roots["callback"].first.__setitem__(0, True),
    "the other zero": lambda roots: setattr(roots["callback"], "value", -0.0),
    "values that change places": lambda roots: roots["callback"].table.update(a=2, b=1),
    "keys that change places": _swap_keys,
    "another key of the same value": _rename,
    "the order of keys": _reorder,
    "the order of an OrderedDict": lambda roots: roots["callback"].ordered.move_to_end("a"),
    "a value of an OrderedDict": lambda roots: roots["callback"].ordered.update(a=3),
    "a set": lambda roots: roots["callback"].names.add(3),
    "a new attribute": lambda roots: setattr(roots["callback"].inner, "y", 1),
    "an attribute that is gone": lambda roots: delattr(roots["callback"].inner, "x"),
    "another __dict__": _replace_dict,
    "a slot": lambda roots: setattr(roots["callback"].slots, "kept", 2),
    "deep inside": lambda roots: roots["callback"].nested["a"]["b"]["c"].append(2),
    "a bit of an array": lambda roots: roots["callback"].array.__setitem__(0, -0.0),
    "a deque": lambda roots: roots["callback"].deque.append(3),
    "one thing where there were two": lambda roots: setattr(roots["callback"], "apart", roots["callback"].one),
    "two things where there was one": lambda roots: setattr(roots["callback"], "other", [7]),
    "things that change places": lambda roots: vars(roots["callback"]).update(
        first=roots["callback"].second, second=roots["callback"].first
    ),
    "a parameter that is no longer trained": lambda roots: setattr(roots["model"][0].weight, "stop_gradient", True),
    "a parameter that is not to be kept": lambda roots: setattr(roots["model"][0].weight, "persistable", False),
    "a parameter's shape": lambda roots: (
        roots["model"][2].weight.get_tensor().set(np.ones((2, 3), "float32"), paddle.CPUPlace())
    ),
    "an attribute of a parameter": lambda roots: setattr(roots["model"][0].weight, "given", 1),
    "a hook on a gradient": lambda roots: roots["model"][2].bias.register_hook(doubled),
    "a buffer that is nobody else's": lambda roots: roots["model"][0].register_buffer(
        "late", paddle.ones([2]), persistable=False
    ),
    "a tensor in the memory of a parameter": lambda roots: setattr(
        roots["callback"], "view", roots["model"][0].weight.detach()
    ),
    "layers that change places": lambda roots: roots["model"]._sub_layers.move_to_end("0"),
    "a buffer": lambda roots: roots["model"][0].register_buffer("late", paddle.ones([2])),
    "a plain setting of a layer": lambda roots: setattr(roots["model"][1], "training", False),
}


ONLY_SEEN = ("a parameter's shape", "a tensor in the memory of a parameter")
"""A model of another shape does not fit; and the values of this one are an owner's."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_just_behind_a_look_is_seen_as_by_one_that_looks_for_the_first_time(name: str) -> None:
    paddle.seed(1)
    change, life = CHANGES[name], Life(make, claims)
    paddle.seed(1)
    unseen = Life(make, claims)
    for _ in range(3):
        life.saved()
    last = life.walker._walk._last
    assert last is not None and last.leads_on(life.walker._walk.claimed, life.walker._walk._look)
    before, _ = life.saved()
    change(life.roots)
    change(unseen.roots)
    record, arrays = life.saved()
    expected, others = unseen.saved()
    assert encode_state("found", record) == encode_state("found", expected) != encode_state("found", before)
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in others.items()
    }
    if name not in ONLY_SEEN:
        assert written(life.roots["callback"]) == written(resumed(make, (record, arrays), claims).roots["callback"])


def test_the_class_of_an_object_is_looked_at_each_time() -> None:
    life = Life(make, claims)
    for _ in range(3):
        life.saved()
    _become(life.roots)
    assert "became" in " ".join(entry.what for entry in life.walker.survey().refused)


def test_changes_are_seen_however_many_looks_lie_between_and_whatever_changed_before() -> None:
    life = Life(make, claims)
    for name, looks in zip(CHANGES, itertools.cycle((0, 1, 2, 3))):
        if name.startswith(("one less", "another key", "keys", "an attribute that", *ONLY_SEEN)):
            continue  # They need something that another one has taken away.
        CHANGES[name](life.roots)
        for _ in range(looks):
            life.saved()
        saved, whole = life.saved(), written(life.roots["callback"])
        life.walker._walk._last = None
        assert encode_state("found", saved[0]) == encode_state("found", life.saved()[0]), name
        assert written(resumed(make, saved, claims).roots["callback"]) == whole, name


def test_what_a_restore_puts_back_is_seen_by_the_next_look() -> None:
    life = Life(make, claims)
    saved = life.saved()
    for name in ("an item", "another key of the same value", "a slot", "a bit of an array"):
        CHANGES[name](life.roots)
        moved = life.saved()
        life.walker.restore(*saved)
        assert encode_state("found", life.saved()[0]) == encode_state("found", saved[0])
        life.walker.restore(*moved)
        assert encode_state("found", life.saved()[0]) == encode_state("found", moved[0])
        life.walker.restore(*saved)


def test_a_look_that_trusts_what_it_saw_before_would_miss_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of those above: the comparison is what finds it."""
    life = Life(make, claims)
    for _ in range(3):
        before, _ = life.saved()
    monkeypatch.setattr(Steady, "holds", lambda steady, claimed: True)
    CHANGES["an item"](life.roots)
    assert encode_state("found", life.saved()[0]) == encode_state("found", before)


def _array(memory: Any) -> Life:
    return Life(lambda: {"callback": Thing(array=np.frombuffer(memory, np.uint8))})


def _digest(life: Life) -> Any:
    life.saved()
    return life.walker._walk.node_of(life.roots["callback"].array).detail


def test_an_array_in_bytes_is_read_once_and_any_other_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    constant, open_to_all = _array(bytes(range(16))), _array(bytearray(range(16)))
    reads: list[int] = []
    digest = array_kinds.xxhash.xxh3_128_digest
    monkeypatch.setattr(array_kinds.xxhash, "xxh3_128_digest", lambda raw: reads.append(1) or digest(raw))
    for life, expected in ((constant, 0), (open_to_all, 3)):
        reads.clear()
        assert len({_digest(life) for _ in range(3)}) == 1
        assert len(reads) == expected


def test_what_only_reads_memory_that_others_write_is_read_at_each_look() -> None:
    memory = bytearray(16)
    for life in (_array(memory), Life(lambda: {"callback": Thing(array=np.frombuffer(memory, np.uint8)[:])})):
        life.roots["callback"].array.flags.writeable = False
        before = _digest(life)
        memory[3] += 1
        assert _digest(life) != before
    owner = np.zeros(4)
    life = Life(lambda: {"callback": Thing(array=owner.view())})
    life.roots["callback"].array.flags.writeable = False
    before = _digest(life)
    owner[1] = -0.0
    assert _digest(life) != before


def test_another_array_or_form_in_the_same_bytes_is_seen() -> None:
    memory = bytes(range(16))
    life = _array(memory)
    seen = {_digest(life)}
    for make_other in (
        lambda: np.frombuffer(memory, np.uint8)[::-1],
        lambda: np.frombuffer(memory, np.uint8)[:8],
        lambda: np.frombuffer(memory, np.int8),
        lambda: np.frombuffer(memory, np.uint8).reshape(4, 4).T,
        lambda: np.frombuffer(bytes(16), np.uint8),
    ):
        life.roots["callback"].array = make_other()
        found = _digest(life)
        assert found not in seen
        seen.add(found)


def test_a_digest_goes_with_its_array() -> None:
    before = len(array_kinds._CONSTANTS)
    for number in range(50):
        life = _array(bytes([number] * 16))
        assert _digest(life)[-1] == array_kinds.xxhash.xxh3_128_digest(bytes([number] * 16))
        del life
        gc.collect()
    assert len(array_kinds._CONSTANTS) == before
