"""What a statement has read already when one of its calls asks for a batch, and uses only after it.

It is in no variable any more, so that no other process could be given it. `total += step(next(batches))` holds the old
total while it waits; written in two statements, it does not.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, Optional

from paddle_resume.found_state.dispatch import LEAF, kind_of
from paddle_resume.suites.source import Function

_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_METHOD_OF = {"__next__": "next", "__iter__": "iter", "__len__": "len"}


def held_value(frame: FrameType, function: Function, at: int, callee: str, in_loop: bool = True) -> str:
    """A part of the statement under way whose value is held back, as its source says it; an empty text for none.

    `at` is the offset of the instruction under way, and `callee` the function that the frame has called. Objects that
    stay the same ones do not count; outside of a loop no value does, for what comes before is done once in each
    process. A comprehension is a loop that holds its place back.
    """
    statement = _under_way(frame, function)
    if statement is None:
        return ""
    way = _way_to_call(statement, frame.f_code, at, callee)
    for outer, inner in zip(way, way[1:]):
        if isinstance(outer, _SCOPES):
            return ast.unparse(outer)
        # What a `for` goes over comes before the loop.
        parts = _read_before(outer, inner) if in_loop and not isinstance(outer, (ast.For, ast.AsyncFor)) else ()
        for part in parts:
            if _may_be_another(part, frame):
                return ast.unparse(part)
    return ""


def taken_at_once(frame: FrameType, function: Function, at: int) -> str:
    """What goes through the batches by itself at the instruction under way, such as `list(loader)`; an empty text for
    a loop and for `next`, which ask for one."""
    if dis.opname[frame.f_code.co_code[at]] == "FOR_ITER":
        return ""
    statement = _under_way(frame, function)
    if statement is None:
        return ""
    way = _way_to_call(statement, frame.f_code, at, "__next__")
    if way and isinstance(way[-1], ast.Call):
        return "" if _name(way[-1]) in ("next", "__next__") else ast.unparse(way[-1])
    is_loop = isinstance(statement, (ast.For, ast.AsyncFor, ast.While))
    return "" if is_loop else ast.unparse(statement)


def _under_way(frame: FrameType, function: Function) -> Optional[ast.stmt]:
    """The innermost statement in the line at which a frame stands."""
    found = [each for each in function.statements if each.lineno <= frame.f_lineno <= (each.end_lineno or 0)]
    return max(found, key=lambda each: (each.lineno, each.col_offset), default=None)


def _read_before(outer: ast.AST, inner: ast.AST) -> Sequence[ast.AST]:
    """The parts of an expression, or of a statement, whose values are held while one of its parts is worked out."""
    if isinstance(outer, ast.AugAssign):
        return [outer.target]
    if isinstance(outer, (ast.BoolOp, ast.IfExp, ast.stmt, ast.NamedExpr)):
        return []
    parts = list(ast.iter_child_nodes(outer))
    if isinstance(outer, ast.Dict):
        parts = [each for pair in zip(outer.keys, outer.values) for each in pair if each is not None]
    if isinstance(outer, ast.Call):
        # The object of a method that is called is the same one in each process.
        callee = outer.func.value if isinstance(outer.func, ast.Attribute) else outer.func
        parts = [each for each in parts if each is not outer.func] if not _calls(callee) else parts
    return parts[: parts.index(inner)] if inner in parts else []


def _may_be_another(part: ast.AST, frame: FrameType) -> bool:
    """Whether a part may have another value in another process that does the same for the first time."""
    if isinstance(part, (ast.Constant, ast.expr_context, ast.operator, ast.unaryop, ast.cmpop)):
        return False
    if isinstance(part, ast.Name):
        value = frame.f_locals.get(part.id, frame.f_globals.get(part.id))
        return kind_of(value) is LEAF and value is not None
    return True


def _way_to_call(statement: ast.stmt, code: CodeType, at: int, callee: str) -> list[ast.AST]:
    """The nodes from the statement to the call that is under way; empty if it is not told apart."""
    ways = list(_ways(statement, [statement]))
    position = _position(code, at)
    if position is not None:
        ways = [way for way in ways if _place(way[-1]) == position]
    else:
        named = [way for way in ways if _name(way[-1]) in (callee, _METHOD_OF.get(callee))]
        ways = named or ways
    return ways[-1] if ways else []


def _ways(node: ast.AST, way: list[ast.AST]) -> list[list[ast.AST]]:
    found = [way] if isinstance(node, ast.Call) else []
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.stmt, ast.Lambda)):
            found += _ways(child, [*way, child])
    return found


def _calls(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Call) for each in ast.walk(node))


def _name(node: ast.AST) -> Optional[str]:
    called = node.func if isinstance(node, ast.Call) else None
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else None


def _place(node: ast.AST) -> tuple[int, int, int, int]:
    place: Any = tuple(getattr(node, name) for name in ("lineno", "end_lineno", "col_offset", "end_col_offset"))
    return place


def _position(code: CodeType, at: int) -> Optional[tuple[int, int, int, int]]:
    """Where in the source the instruction at this offset comes from; newer Pythons tell."""
    if sys.version_info < (3, 11):
        return None
    positions: Any = zip(code.co_positions(), range(0, at + 2, 2))
    found = next((each for each, place in positions if place == at), None)
    return found if found is not None and None not in found else None
