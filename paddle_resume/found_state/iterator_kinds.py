"""Iterators whose position can be read and set: `itertools.count`, and those over a list, a tuple or a range."""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, Optional

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

_NUMBER = r"-?[0-9]{1,4000}|-?[0-9]*\.?[0-9]+(?:e[+-]?[0-9]{1,3})?|-?inf|nan"
_COUNT = re.compile(rf"count\(({_NUMBER})(?:, ({_NUMBER}))?\)")


class CountKind(Kind):
    """An `itertools.count`; it tells where it stands, and cannot be set, so another one takes its place."""

    tag = "count"
    types = (itertools.count,)
    is_rewritten = False

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], repr(thing)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        """Raises Problem for a count of other numbers than whole ones and floats."""
        self.check(repr(thing), ArraySource({}))
        return repr(thing)

    def check(self, saved: Any, source: ArraySource) -> Any:
        found = _COUNT.fullmatch(saved) if type(saved) is str else None
        if found is None:
            raise Problem(f"a count of {str(saved)[:80]} cannot be made again")
        return [_number(text) for text in found.groups() if text is not None]

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        return itertools.count(*held)


class PositionKind(Kind):
    """An iterator over something that it refers to, and the position in it; None when it is through."""

    tag = "iterator"
    is_rewritten = False
    _types: ClassVar[dict[str, Any]] = {
        "list": type(iter([])),
        "reversed list": type(reversed([])),
        "tuple": type(iter(())),
        "range": type(iter(range(0))),
        "long range": type(iter(range(1 << 100))),
    }
    types = tuple(_types.values())

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        _, arguments, *position = thing.__reduce__()
        over = arguments[0] if arguments else ()
        if type(over) is range:  # made anew at each look, and in newer Pythons counted from where it stands
            start = position[0] if position and position[0] is not None else 0
            return [], (start, over.start, over.stop, over.step)
        return [over] if position else [], position[0] if position else None

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        kind = next(name for name, cls in self._types.items() if cls is type(thing))
        over, position = self.read(thing, claimed)
        if any(type(each) not in (list, tuple) for each in over):
            raise Problem(f"an iterator over a {type(over[0]).__qualname__} cannot be made again")
        return [kind, [hex(n) for n in position] if isinstance(position, tuple) else position]

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not list or len(saved) != 2 or saved[0] not in self._types:
            raise Problem("an iterator comes with its kind and position")
        kind, position = saved
        if "range" in kind:
            if type(position) is not list or len(position) != 4 or not all(type(n) is str for n in position):
                raise Problem("an iterator over a range comes with its position, start, stop and step")
            try:
                return kind, [int(n, 16) for n in position]
            except ValueError as error:
                raise Problem("the position of an iterator is damaged") from error
        if position is not None and (type(position) is not int or not -1 <= position < 1 << 62):
            raise Problem(f"an iterator has no position {str(position)[:40]}")
        return kind, position

    def build(self, cls: type, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> Any:
        kind, position = held
        if "range" in kind:
            at, start, stop, step = position
            if step == 0:
                raise Problem("a range has a step")
            return iter(range(start + at * step, stop, step))
        over: Any = values[0] if values else () if kind == "tuple" else []
        if type(over) is not (tuple if kind == "tuple" else list):
            raise Problem(f"an iterator over a {kind} has another thing to go through")
        made: Any = reversed(over) if kind == "reversed list" else iter(over)
        if position is None:
            made = reversed([]) if kind == "reversed list" else iter(() if kind == "tuple" else [])
            next(made, None)
        return made

    def finish(self, thing: Any, held: Any) -> None:
        """Go to the position: a list has its items only now, and Python takes none beyond them."""
        kind, position = held
        if "range" not in kind and position is not None:
            thing.__setstate__(position)


def _number(text: str) -> Any:
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)
