"""The functions that stand between a program's start and the request for a batch, and the variables they hold."""

from __future__ import annotations

import ctypes
import inspect
import sys
from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType, CellType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Callable, NamedTuple, Optional

from paddle_resume.errors import StateError
from paddle_resume.found_state.dispatch import kind_of
from paddle_resume.found_state.kind import REFUSED
from paddle_resume.found_state.uncaptured import is_users, module_of
from paddle_resume.suites.held_values import held_value, taken_at_once
from paddle_resume.suites.live_names import instruction_at, live_globals, live_names
from paddle_resume.suites.loops import LoopIterator, RunningLoops
from paddle_resume.suites.rewriting import RewrittenModules
from paddle_resume.suites.source import MODULE, Function, Loop

_ADVICE = "Ask for the batches in a plain loop of a function of the program's own."
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_OUTSIDE = RewrittenModules.run_script.__code__
_SCOPES = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>")


class Level(NamedTuple):
    """One function on the way, and where it stands."""

    frame: FrameType
    name: str
    """`module:qualname`."""
    function: Function
    at: int
    """The offset of the instruction that is under way."""
    line: int
    callee: str
    """The name of the function that it has called."""
    loops: list[Loop]
    """Those that it is in, the outer ones first."""


class Stack:
    """The levels of one request, the outermost first."""

    def __init__(self, levels: list[Level], others: Sequence[FrameType] = ()) -> None:
        self.levels = levels
        self.others = others
        """Functions of libraries between them."""
        self.site = [[level.name, level.line, level.at] for level in levels]
        """What tells the place from any other, also in another process of the same program."""
        self.calls = [(level.frame, level.frame.f_lasti) for level in reversed(levels)]
        """Where each of its functions stood, the innermost first."""

    @property
    def told(self) -> str:
        """The innermost function, for a person."""
        name, line, _ = self.site[-1]
        return f"{name}, line {line}"


class StackReader:
    """Finds the levels that are of the program's own code.

    Args:
        modules: knows the sources.
        is_own: tells by a module's name whether its code is the program's own.
    """

    def __init__(self, modules: RewrittenModules, loops: RunningLoops, is_own: Callable[[str], bool]) -> None:
        self._modules = modules
        self._loops = loops
        self._is_own = is_own
        self._known: dict[CodeType, Optional[tuple[str, Function]]] = {}

    def stack(self, frame: Optional[FrameType], last: Optional[Stack] = None) -> Stack:
        """The levels from the program's start to this frame; `last` itself, if these are its calls where they stood."""
        if last is not None and self._is_at(last.calls, frame):
            return last
        levels: list[Level] = []
        others: list[FrameType] = []
        callee = "__next__"
        while frame is not None:
            code = frame.f_code
            if code is _OUTSIDE:
                break
            if code not in self._known:
                self._known[code] = self._learn(frame)
            known = self._known[code]
            if known is None:
                others.append(frame)
            else:
                (name, function), line = known, frame.f_lineno
                # While a loop asks for its next item it stands in the line in which it begins.
                loops = [loop for loop in function.loops if loop.holds(line)]
                levels.append(Level(frame, name, function, instruction_at(code, frame.f_lasti), line, callee, loops))
            frame, callee = frame.f_back, code.co_name
        levels.reverse()
        return Stack(levels, others)

    def _is_at(self, calls: Sequence[tuple[FrameType, int]], frame: Optional[FrameType]) -> bool:
        place = 0
        while frame is not None and frame.f_code is not _OUTSIDE:
            if self._known.get(frame.f_code, True) is not None:  # Not known to be a library's.
                if place == len(calls) or calls[place] != (frame, frame.f_lasti):
                    return False
                place += 1
            frame = frame.f_back
        return place == len(calls)

    def require_movable(self, stack: Stack) -> None:
        """Raises StateError for a place to which no other process could be brought."""
        for frame in stack.others:
            self._require_no_loop(frame)
        for level in stack.levels:
            code = level.frame.f_code
            if code.co_flags & _GENERATORS:
                raise _refused(level, f"the generator {level.function.qualname} asks for the batches")
            if code.co_name in _SCOPES:
                raise _refused(level, f"a {code.co_name.strip('<>')} asks for the batches")
        taken = self.taken_at_once(stack)
        if taken:
            what = f"`{taken}` takes all batches at once, and those that it has are in no variable yet"
            raise _refused(stack.levels[-1], what)
        for level in stack.levels:
            for loop in level.loops:
                iterator = self._loops.of(level.frame, loop.first) if loop.is_for else None
                if loop.is_for and iterator is None:
                    raise _refused(level, f"the loop `{loop.text}` in line {loop.first} cannot be moved")
                if iterator is not None and kind_of(iterator.inner).standing == REFUSED:
                    what = type(iterator.inner).__name__
                    raise _refused(level, f"the loop `{loop.text}` goes through a {what}, whose place nobody can tell")
                if not loop.is_for and loop.text.startswith("for"):
                    raise _refused(level, f"the loop `{loop.text}` in line {loop.first} is asynchronous")
            held = held_value(level.frame, level.function, level.at, level.callee, bool(level.loops))
            if held:
                raise _refused(level, f"line {level.line} holds the value of `{held}` while it waits for a batch")

    def taken_at_once(self, stack: Stack) -> str:
        """The call that goes through the batches by itself, such as `list(loader)`; an empty text for none."""
        inner = stack.levels[-1]
        return taken_at_once(inner.frame, inner.function, inner.at) if inner.callee == "__next__" else ""

    def is_done_anew(self, stack: Stack) -> bool:
        """Whether batches are taken at once and in no loop, which each process does for itself before it trains."""
        return not any(level.loops for level in stack.levels) and bool(self.taken_at_once(stack))

    def _require_no_loop(self, frame: FrameType) -> None:
        """Raises StateError for a function of a library that is in a loop, of which nothing is known."""
        code, module = frame.f_code, str(frame.f_globals.get("__name__", ""))
        if module.startswith("paddle_resume."):
            return  # What stands for Python's iterators.
        if module.startswith("paddle.hapi"):
            raise StateError(
                "paddle.Model.fit asks for the batches, whose loop is Paddle's own. Give it the callback ExactResume "
                "of paddle_resume.hapi, and run the program without wrap."
            )
        try:
            function = self._modules.source(code.co_filename).function(code.co_name, code.co_firstlineno)
        except (OSError, SyntaxError, ValueError):
            return  # Code that was made in memory, such as a dataclass's.
        loops = [] if function is None else [loop for loop in function.loops if loop.holds(frame.f_lineno)]
        if loops or code.co_flags & _GENERATORS:
            where = f"{code.co_filename}, line {frame.f_lineno}"
            raise StateError(
                f"A loop of the library {module.partition('.')[0]} asks for the batches ({where}), so that no other "
                f"process could be brought to where this one stands. {_ADVICE}"
            )

    def iterators(self, level: Level) -> dict[str, LoopIterator]:
        """The iterators of the `for` loops that a level is in, by how they begin."""
        found = {}
        for loop in level.loops:
            iterator = self._loops.of(level.frame, loop.first) if loop.is_for else None
            if iterator is not None:
                found[f"<{loop.text}, line {loop.first}>"] = iterator
        return found

    def turns(self, level: Level) -> Optional[int]:
        """How many turns the loops of a level have made; None for a `while`, of which nobody knows."""
        if level.loops and not level.loops[-1].is_for:
            return None
        running = [self._loops.of(level.frame, loop.first) for loop in level.loops if loop.is_for]
        return sum(iterator.given for iterator in running if iterator is not None)

    def _learn(self, frame: FrameType) -> Optional[tuple[str, Function]]:
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        if type(module) is not str or not self._is_own(module):
            return None
        try:
            source = self._modules.source(code.co_filename)
        except (OSError, SyntaxError, ValueError):
            return None
        function = source.function(code.co_name, code.co_firstlineno)
        if function is None:
            function = Function(code.co_name, code.co_firstlineno, (), (), "")
        return f"{module}:{function.qualname}", function


def variables(level: Level, leave: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """The variables of a level whose values are still going to be read, but what its adapter says to leave."""
    frame = level.frame
    left = leave.get(level.name, frozenset())
    if level.function.qualname == MODULE:
        live = live_globals(frame.f_code, level.at)
        return {
            name: value
            for name, value in frame.f_globals.items()
            if name in live and name not in left and not name.startswith("__") and not _is_programs(name, value)
        }
    live = live_names(frame.f_code, level.at)
    return {name: value for name, value in dict(frame.f_locals).items() if name in live and name not in left}


def _is_programs(name: str, value: Any) -> bool:
    """Whether a variable of a module is the program's: a module, a library's class or function, under its own name."""
    if isinstance(value, (FunctionType, BuiltinFunctionType)):
        return value.__name__ == name and not is_users(value.__module__ or "")
    return isinstance(value, ModuleType) or (isinstance(value, type) and not is_users(module_of(value)))


def code_of(level: Level) -> FunctionType:
    """The code of a level, as a function that nobody calls: what it reaches by name is to be found."""
    code = level.frame.f_code
    return FunctionType(code, level.frame.f_globals, code.co_name, None, tuple(CellType() for _ in code.co_freevars))


def set_variables(level: Level, values: Mapping[str, Any]) -> None:
    """Have the variables of a level hold these values."""
    frame = level.frame
    if level.function.qualname == MODULE:
        frame.f_globals.update(values)
        return
    names = frame.f_locals
    names.update(values)
    if sys.version_info < (3, 13):  # From then on the names are the variables themselves.
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


def _refused(level: Level, what: str) -> StateError:
    return StateError(
        f"{level.frame.f_code.co_filename}, line {level.line}: {what}, so that no other process could be brought to "
        f"where this one stands. {_ADVICE}"
    )
