"""Which variables of a function, or a module, that has been left in the middle are still going to be read."""

from __future__ import annotations

import bisect
import dis
import functools
import sys
from types import CodeType
from typing import Any

_LEAVE = ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE")
_LEAP = ("JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")
_READ_ALL = frozenset(("locals", "vars", "eval", "exec", "dir", "globals", "_getframe", "currentframe"))


def live_names(code: CodeType, at: int) -> frozenset[str]:
    """The local variables whose values may be read by what follows the instruction at the offset `at`.

    Those that functions inside share with this one are always among them, and all are where code may read them by
    their names. A variable that is always assigned before it is read does not decide anything.
    """
    shared = frozenset((*code.co_cellvars, *code.co_freevars))
    if _READ_ALL & {*code.co_names, *code.co_varnames}:
        return frozenset(code.co_varnames) | shared
    every = frozenset(code.co_varnames)
    return (_live_at(code, at, every) & every) | shared


def live_globals(code: CodeType, at: int) -> frozenset[str]:
    """As `live_names`, for a module's top level; what its functions and classes read by name is always among them."""
    named = frozenset(code.co_names)
    inside = _names_inside(code)
    if _READ_ALL & (named | inside):
        return named
    return _live_at(code, at, named) | inside


def instruction_at(code: CodeType, at: int) -> int:
    """The offset at which the instruction begins that a frame's `f_lasti` lies in.

    Newer Pythons keep counters behind an instruction, and may count them in.
    """
    offsets = _offsets(code)
    return offsets[bisect.bisect_right(offsets, at) - 1] if at >= 0 else at


@functools.lru_cache(maxsize=256)
def _offsets(code: CodeType) -> list[int]:
    # Python 3.11 makes a call in two instructions, and at either of them, whichever is quicker.
    before = [None, *dis.get_instructions(code)]
    return [now.offset for last, now in zip(before, before[1:]) if now and not (last and last.opname == "PRECALL")]


def _live_at(code: CodeType, at: int, every: frozenset[str]) -> frozenset[str]:
    live_after = _live_after(code)
    return live_after.get(instruction_at(code, at), every)


def _names_inside(code: CodeType) -> frozenset[str]:
    """All names that the functions and classes in it use."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return frozenset().union(*(frozenset(each.co_names) | _names_inside(each) for each in inner))


@functools.lru_cache(maxsize=256)
def _live_after(code: CodeType) -> dict[int, frozenset[str]]:
    """For each instruction, by its offset, the variables that may be read after it."""
    instructions = list(dis.get_instructions(code))
    follows = _successors(code, instructions)
    reads: dict[int, frozenset[str]] = {}
    writes: dict[int, frozenset[str]] = {}
    for each in instructions:
        reads[each.offset], writes[each.offset] = _reads_and_writes(each)
    before: dict[int, frozenset[str]] = {each.offset: frozenset() for each in instructions}
    after = dict(before)
    changed = True
    while changed:
        changed = False
        for each in reversed(instructions):
            offset = each.offset
            after[offset] = frozenset().union(*(before[target] for target in follows[offset]))
            now = reads[offset] | (after[offset] - writes[offset])
            if now != before[offset]:
                before[offset], changed = now, True
    return after


def _successors(code: CodeType, instructions: list[dis.Instruction]) -> dict[int, set[int]]:
    known = {each.offset for each in instructions}
    follows: dict[int, set[int]] = {each.offset: set() for each in instructions}
    for each, following in zip(instructions, [*instructions[1:], None]):
        leaps = each.opcode in dis.hasjrel or each.opcode in dis.hasjabs
        if leaps and each.argval in known:
            follows[each.offset].add(each.argval)
        if following is not None and each.opname not in _LEAVE and each.opname not in _LEAP:
            follows[each.offset].add(following.offset)
    for start, end, handler in _guarded(code, instructions):
        for offset in known:
            if start <= offset < end:
                follows[offset].add(handler)
    return follows


def _guarded(code: CodeType, instructions: list[dis.Instruction]) -> list[tuple[int, int, int]]:
    """Ranges of instructions, each with the one at which it goes on after an exception."""
    if sys.version_info >= (3, 11):
        parse: Any = dis._parse_exception_table  # type: ignore[attr-defined]
        return [(entry.start, entry.end, entry.target) for entry in parse(code)]
    # Before Python 3.11 a block says where its handler is; all that lies between may raise.
    return [
        (each.offset, each.argval, each.argval)
        for each in instructions
        if each.opname in ("SETUP_FINALLY", "SETUP_WITH", "SETUP_ASYNC_WITH")
    ]


def _reads_and_writes(instruction: dis.Instruction) -> tuple[frozenset[str], frozenset[str]]:
    name = instruction.opname
    if name in ("LOAD_NAME", "LOAD_GLOBAL"):
        return frozenset((instruction.argval,)), frozenset()
    if name in ("STORE_NAME", "STORE_GLOBAL"):
        return frozenset(), frozenset((instruction.argval,))
    if "_FAST" not in name:
        return frozenset(), frozenset()
    given = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
    # In newer Pythons one instruction may do two things, told in the order in which they come.
    kinds = [part for part in name.split("_") if part in ("LOAD", "STORE", "DELETE")]
    reads: set[str] = set()
    writes: set[str] = set()
    for kind, variable in zip(kinds if len(kinds) == len(given) else kinds[:1] * len(given), given):
        if kind == "STORE":
            writes.add(variable)
        elif variable not in writes:
            reads.add(variable)
    return frozenset(reads), frozenset(writes)
