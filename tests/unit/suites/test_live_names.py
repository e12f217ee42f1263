"""Which variables are still going to be read, on every Python."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from paddle_resume.suites.live_names import instruction_at, live_globals, live_names

FOUND: list[set[str]] = []


def look(value: Any = None) -> Any:
    frame = sys._getframe(1)
    FOUND.append(set(live_names(frame.f_code, frame.f_lasti)))
    return value


class Batches:
    """Looks at the function that asks for a batch."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> int:
        frame = sys._getframe(1)
        FOUND.append(set(live_names(frame.f_code, frame.f_lasti)))
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return self.left


@pytest.fixture(autouse=True)
def _nothing_found() -> None:
    FOUND.clear()


def test_what_is_assigned_before_it_is_read_is_not_live() -> None:
    def train(batches: Batches, epochs: int, net: int) -> Any:
        best, unused = 0, 5  # noqa: F841
        for epoch in range(epochs):  # noqa: B007
            total = 0
            for batch in batches:
                out = net + batch
                loss = out * 2
                total += loss
            best = max(best, total)
        return best

    train(Batches(2), 1, 3)
    assert [{"batches", "net", "total", "best"}] * 3 == FOUND


def test_what_a_handler_reads_is_live() -> None:
    def train() -> Any:
        last, step = None, 0
        try:
            step = look(1)
            last = step
        except ValueError:
            return last
        finally:
            step = 2
        return step

    train()
    assert "last" in FOUND[0]


def test_what_with_needs_and_what_is_deleted() -> None:
    def train(path: str) -> Any:
        with open(path) as file:
            look()
            name = file.name
            gone = 1
            look()
            del gone
        return name, file

    train(__file__)
    assert FOUND[0] - {"name"} == {"file"}  # `with` may go on behind an exception.
    assert FOUND[1] == {"name", "gone", "file"}


def test_what_functions_inside_share_is_always_live() -> None:
    def train() -> Any:
        shared = 1
        look()
        shared = 2
        return lambda: shared

    train()
    assert [{"shared"}] == FOUND


def test_code_that_reads_variables_by_name_keeps_all() -> None:
    def train() -> Any:
        one, two = 1, 2
        look()
        return locals()

    train()
    assert [{"one", "two"}] == FOUND


def test_while_goes_round() -> None:
    def train(steps: int) -> int:
        step, best = 0, 0
        while step < steps:
            value = look(step)
            best = max(best, value)
            step += 1
        return best

    train(2)
    assert [{"step", "best", "steps"}] * 2 == FOUND


def test_a_call_that_python_has_made_quicker_is_the_same_place() -> None:
    places = []

    def ask() -> None:
        frame = sys._getframe(1)
        places.append(instruction_at(frame.f_code, frame.f_lasti))

    def train(batches: Any) -> None:
        for _ in batches:
            ask()
            next(Asks())

    class Asks:
        def __next__(self) -> None:
            frame = sys._getframe(1)
            places.append(instruction_at(frame.f_code, frame.f_lasti))

    train(range(100))
    assert len(set(places)) == 2


def test_of_a_module_what_its_functions_use_is_live() -> None:
    code = compile("a = 1\nb = 2\nc = 3\ndef f():\n    return a\nlook()\nb = 4\nprint(b, c)\n", "m.py", "exec")
    found: list[Any] = []

    def look_here() -> None:
        frame = sys._getframe(1)
        found.append(live_globals(code, frame.f_lasti))

    exec(code, {"look": look_here, "print": lambda *_: None})
    assert {"a", "c", "print"} <= found[0] and "b" not in found[0]
