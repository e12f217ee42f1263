"""Where arrays lie in a block is kept from one save to the next only while everything about them is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Callable

import numpy as np
import pytest

from paddle_resume.checkpoint.snapshot import Layout, contents

FILES: dict[str, dict[str, Any]] = {
    ".pdparams": {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 3), np.float32), "step": 1},
    ".pdopt": {"master": {"a": np.zeros(4)}, "rate": 0.0, "name": "x"},
}


def changed(suffix: str, **values: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {**FILES, suffix: {**FILES[suffix], **values}}


OTHERS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "another shape of as many bytes": changed(".pdparams", b=np.ones((3, 2), np.float32)),
    "another type of as many bytes": changed(".pdparams", a=np.arange(6, dtype=np.int32)),
    "a longer array": changed(".pdparams", a=np.arange(7, dtype=np.float32)),
    "True in place of 1": changed(".pdparams", step=True),
    "1.0 in place of 1": changed(".pdparams", step=1.0),
    "the other zero": changed(".pdopt", rate=-0.0),
    "a text": changed(".pdopt", name="y"),
    "a name more": changed(".pdopt", more=2),
    "another inner name": changed(".pdopt", master={"b": np.zeros(4)}),
    "an array in place of a value": changed(".pdopt", name=np.zeros(1)),
    "another order": lambda: {".pdparams": dict(reversed(FILES[".pdparams"].items())), ".pdopt": FILES[".pdopt"]},
    "a file less": lambda: {".pdparams": FILES[".pdparams"]},
}


def read_back(layout: Layout) -> dict[str, dict[str, Any]]:
    block = bytearray(layout.size)
    layout.copy_into(memoryview(block))
    return contents(json.loads(layout.text), memoryview(block))


def told(thing: Any) -> Any:
    if isinstance(thing, Mapping):
        return [(name, told(value)) for name, value in thing.items()]
    return (thing.tobytes(), thing.dtype, thing.shape) if isinstance(thing, np.ndarray) else repr(thing)


def test_other_values_of_the_same_form_take_over_the_plan() -> None:
    first = Layout(FILES)
    files = changed(".pdparams", a=np.full(6, 7, np.float32))()
    again = Layout(files, first.plan)
    assert again.plan is first.plan
    assert told(read_back(again)) == told(files)


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_else_is_another_is_laid_out_anew(name: str) -> None:
    first, files = Layout(FILES), OTHERS[name]()
    other = Layout(files, first.plan)
    assert other.plan is not first.plan
    assert other.text == Layout(files).text and told(read_back(other)) == told(files)


def test_a_plan_that_is_taken_over_unseen_would_read_other_values() -> None:
    """The control of the one above."""
    files = OTHERS["another shape of as many bytes"]()
    plan = Layout(FILES).plan._replace(key=Layout(files).plan.key)
    assert told(read_back(Layout(files, plan))) != told(files)
