"""The way to a request for a batch is read anew unless the very same calls stand where they stood."""

from __future__ import annotations

import sys
from typing import Optional

import pytest

from paddle_resume.suites.loops import RunningLoops
from paddle_resume.suites.rewriting import RewrittenModules
from paddle_resume.suites.stack import Stack, StackReader


class Program:
    """Requests by functions of this module, each of which is read from the stack before it."""

    def __init__(self) -> None:
        loops = RunningLoops()
        modules = RewrittenModules(loops.begin, lambda name, path: False, lambda name: False)
        self.reader = StackReader(modules, loops, lambda name: name == __name__)
        self.stacks: list[Stack] = []

    def ask(self, last: Optional[Stack] = None) -> None:
        self.stacks.append(self.reader.stack(sys._getframe(1), last or (self.stacks[-1] if self.stacks else None)))

    def in_a_loop(self, turns: int) -> None:
        for _ in range(turns):
            self.ask()

    def in_two_places(self) -> None:
        for turn in range(3):
            if turn < 2:
                self.ask()
            else:
                self.ask()

    def through_others(self) -> None:
        for turn in range(3):
            sorted([turn], key=lambda _: self.ask())

    def deeper(self, depth: int) -> None:
        if depth:
            self.deeper(depth - 1)
        self.ask()


@pytest.fixture
def program() -> Program:
    return Program()


def test_turns_of_one_loop_are_one_stack(program: Program) -> None:
    program.in_a_loop(4)
    assert len({id(stack) for stack in program.stacks}) == 1
    assert program.stacks[0].levels[-1].name == f"{__name__}:Program.in_a_loop"


def test_another_line_is_another(program: Program) -> None:
    program.in_two_places()
    first, second, third = program.stacks
    assert first is second and third is not first
    assert third.site != first.site


def test_a_function_that_is_called_anew_is_another(program: Program) -> None:
    program.in_a_loop(1)
    program.in_a_loop(1)
    first, second = program.stacks
    assert second is not first and second.site[-1][0] == first.site[-1][0]
    assert second.levels[-1].frame is not first.levels[-1].frame


def test_a_function_within_is_another(program: Program) -> None:
    program.through_others()
    assert len({id(stack) for stack in program.stacks}) == 3  # A lambda's frame is a new one in each turn.


def test_more_or_fewer_levels_are_another(program: Program) -> None:
    program.deeper(2)
    assert [len(stack.levels) - len(program.stacks[-1].levels) for stack in program.stacks] == [2, 1, 0]


def test_what_is_read_anew_is_the_same_as_what_is_kept(program: Program) -> None:
    program.in_a_loop(3)
    (kept,) = {id(stack): stack for stack in program.stacks}.values()
    program.stacks.clear()
    program.in_a_loop(1)
    assert program.stacks[0].site[-1] == kept.site[-1]
