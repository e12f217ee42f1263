"""What a run was built with, in short, so that a resume can tell what is built otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import paddle
import xxhash

from paddle_resume.found_state import process_values
from paddle_resume.found_state.capture import LEAST_ID
from paddle_resume.found_state.dispatch import LEAF, OWNER, kind_of
from paddle_resume.found_state.function_kinds import FunctionKind, code_key
from paddle_resume.found_state.kind import CAPTURED, is_a
from paddle_resume.found_state.known import is_below
from paddle_resume.found_state.leaves import Names, class_key, leaf_cell, same_cells
from paddle_resume.found_state.node import BulkKind, Node, RootsKind
from paddle_resume.found_state.object_kinds import ClassKind
from paddle_resume.found_state.packed_values import pack_numbers
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.process_settings import SettingsKind
from paddle_resume.found_state.stored_arrays import ArraySink, raw_bytes

MANY = (paddle.nn.Layer, paddle.Tensor)  # of which a run has hundreds, with dozens of settings each
_SHORT = 100  # letters; what is longer is told by its digest


class Change(NamedTuple):
    """Something that is built otherwise: what the two starts had at `path`, None where they had nothing.

    Values that are too long to be shown are told by a digest.
    """

    path: str
    before: Any
    after: Any
    is_another_thing: bool
    """Whether it is an object of another class or none at all, so that its state cannot be put back."""
    holder: str = ""
    """The class of the object whose attribute it is, as `class_key` names it."""


def start_values(nodes: list[Node], names: Names) -> dict[str, Any]:
    """For everything that was there at the start what it was, by path: class or kind, then its values or a digest.

    Values that belong to the process are left out: clocks, folders, process numbers.
    """
    found: dict[str, Any] = {}
    for node in nodes:
        is_function = isinstance(node.kind, FunctionKind) and node.path.startswith("<")
        if is_function or isinstance(node.kind, SettingsKind):
            continue  # Its name says all; the settings are those of this process.
        if node.owner or node.kind is OWNER or (not isinstance(node.kind, FunctionKind) and node.standing != CAPTURED):
            found[node.path] = [class_key(type(node.thing))]
        elif not isinstance(node.kind, RootsKind) and not _is_part_of_layer(node):
            found[node.path] = [_what(node), *_content(node, names)]
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs between two starts; raises Problem if `before` is none that `start_values` gives."""
    found: list[Change] = []
    absent: set[str] = set()
    for path in dict.fromkeys([*before, *after]):
        old, new = before.get(path), after.get(path)
        for side in (old, new):
            if side is not None and (type(side) is not list or not side or type(side[0]) is not str):
                raise Problem(f"what stands at {path[:200]} of the start is damaged")
        is_class = path.startswith("<")  # it is told of its objects
        if same_cells(old, new) or is_below(path, absent) or (is_class and None in (old, new)):
            continue
        if old is None or new is None or old[0] != new[0]:
            absent.add(path)
            found.append(Change(path, old and old[0], new and new[0], True))
        elif type(old[-1]) is dict and type(new[-1]) is dict:
            for name in dict.fromkeys([*old[-1], *new[-1]]):
                sides = old[-1].get(name), new[-1].get(name)
                if not same_cells(*sides):
                    found.append(Change(f"{path}.{name}", shown(sides[0]), shown(sides[1]), False, old[0]))
        else:
            found.append(Change(path, shown(old[-1]), shown(new[-1]), False))
    return found


def shown(cell: Any) -> Any:
    """A cell as a person reads it."""
    if type(cell) is not list or not cell:
        return cell
    if cell[0] == "tuple":
        return tuple(map(shown, cell[1:]))
    return " ".join(map(str, map(shown, cell))) if type(cell[0]) is str else [shown(part) for part in cell]


def _what(node: Node) -> str:
    if isinstance(node.kind, FunctionKind):
        return ":".join(code_key(node.thing)[:2])
    if isinstance(node.kind, ClassKind):
        return class_key(node.thing)
    return class_key(type(node.thing))


def _content(node: Node, names: Names) -> list[Any]:
    start = node.start
    assert start is not None
    if isinstance(node.kind, FunctionKind):
        return []  # its code is the program's, as that of all methods
    if isinstance(node.kind, BulkKind):
        return [len(start.values)]
    if node.kind.has_names:
        return _attributes(node, names)
    sink = ArraySink()
    packed = pack_numbers(start.values, sink, "")
    if packed is not None:
        arrays = [value for value in (*packed[1], *sink.arrays.values()) if isinstance(value, np.ndarray)]
        return [len(start.values), *(xxhash.xxh3_64_hexdigest(raw_bytes(array)) for array in arrays)]
    labels: Any = start.labels if start.labels is not None else [None] * len(start.values)
    pairs = [(label, value) for label, value in zip(labels, start.values) if kind_of(value) is LEAF]
    cells = [_short(value, names, "") if label is None else _pair(label, value, names) for label, value in pairs]
    if node.kind.tag == "set":
        cells.sort(key=repr)
    content: Any = cells if start.detail is None else [*cells, _digest(repr(start.detail))]
    return [_digested(content)] if content else []


def _pair(label: Any, value: Any, names: Names) -> list[Any]:
    return [_short(label, names, ""), _short(value, names, label)]


def _attributes(node: Node, names: Names) -> list[Any]:
    start = node.start
    assert start is not None
    values = {
        str(name): _short(value, names, name)
        for name, value in zip(start.labels or (), start.values)
        if kind_of(value) is LEAF
    }
    values = {name: value for name, value in values.items() if value is not _LEFT_OUT}
    if not is_a(node.thing, MANY):
        return [{name: _digested(value) for name, value in values.items()}] if values else []
    return [_digest([values, repr(start.detail)])]


_LEFT_OUT = "..."


def _short(value: Any, names: Names, name: Any) -> Any:
    if kind_of(value) is not LEAF:
        return _LEFT_OUT  # it is told at its own path
    if process_values.is_of_this_process(name, value) or (type(value) is int and value > LEAST_ID):
        return _LEFT_OUT  # Such a number may be the id() of something.
    try:
        return leaf_cell(value, names, "")
    except Problem:
        return type(value).__qualname__


def _digested(value: Any) -> Any:
    text = json.dumps(value)
    return value if len(text) <= _SHORT else _digest(value)


def _digest(value: Any) -> str:
    return "xxh3 " + xxhash.xxh3_64_hexdigest(json.dumps(value).encode())


def _is_part_of_layer(node: Node) -> bool:
    """The containers of a Layer's own: what is in them is told by itself."""
    return node.is_own or (node.is_librarys and not node.values and not node.detail)
