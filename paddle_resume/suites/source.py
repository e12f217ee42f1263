"""What a module's source tells of its loops, and the same source with each `for` open to be moved."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional

import xxhash

HOOK = "__resumable_loop__"
"""The global name of a rewritten module by which its loops ask for their iterators."""
MODULE = "<module>"
_CALLS_OF_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


class Loop(NamedTuple):
    """A `for` or `while` of a function or a module's top level."""

    first: int
    """The line in which it begins."""
    body: int
    """The line in which its body begins."""
    last: int
    """The line in which its body ends; `else` is not part of it."""
    text: str
    """How it begins, such as `for epoch in range(3)`."""
    is_for: bool

    def holds(self, line: int) -> bool:
        """Whether a function that stands in this line is in the loop."""
        return self.first <= line <= self.last


class Function(NamedTuple):
    """A function, a method, or a module's top level."""

    qualname: str
    first: int
    """The line of its first decorator, or of its `def`; 0 for a module."""
    loops: tuple[Loop, ...]
    """All of its loops, the outer ones first."""
    statements: tuple[ast.stmt, ...]
    """Its statements, also those inside others, but not those of functions in it."""
    digest: str
    """Of its lines, without comments; empty for a module."""


class Source:
    """A module's source, by the functions in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        content = Path(path).read_bytes()
        self._tree = ast.parse(content, path)
        self._lines = content.decode("utf-8", "replace").splitlines()
        self.functions: dict[int, Function] = {}
        """By the line in which a function begins, as its code object tells it."""
        self._learn(self._tree, "", MODULE)

    def function(self, name: str, first: int) -> Optional[Function]:
        """The function whose code object has this name and first line."""
        return self.functions.get(0 if name == MODULE else first)

    def named(self, qualname: str) -> Optional[Function]:
        """The function of this qualified name."""
        return next((each for each in self.functions.values() if each.qualname == qualname), None)

    def rewritten(self) -> ast.Module:
        """The same program, in which each `for` calls HOOK with the line of it and what it goes over.

        All lines stay what they are.
        """
        tree = ast.parse(Path(self.path).read_bytes(), self.path)
        for node in ast.walk(tree):
            if isinstance(node, ast.For):
                given = [ast.Constant(node.lineno), node.iter]
                call = ast.Call(ast.Name(HOOK, ast.Load()), given, [])
                node.iter = ast.copy_location(call, node.iter)
                ast.copy_location(given[0], given[1])
                ast.copy_location(call.func, given[1])
        return tree

    def _learn(self, node: ast.AST, prefix: str, name: str) -> None:
        statements = tuple(_statements(node))
        loops = tuple(_loop(each) for each in statements if isinstance(each, (ast.For, ast.AsyncFor, ast.While)))
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) if isinstance(node, _Function) else 0
        if name == MODULE or isinstance(node, _Function):
            digest = _digest(self._lines[first - 1 : getattr(node, "end_lineno", 0)]) if first else ""
            self.functions[first] = Function(prefix + name, first, loops, statements, digest)
        inner = prefix if name == MODULE else f"{prefix}{name}.{'<locals>.' if first else ''}"
        for each in statements:
            if isinstance(each, (*_Function, ast.ClassDef)):
                self._learn(each, inner, each.name)


def _statements(scope: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a scope in their order, without those of the scopes inside it."""
    for child in ast.iter_child_nodes(scope):
        if isinstance(child, ast.stmt):
            yield child
        if not isinstance(child, (*_Function, ast.ClassDef, *_CALLS_OF_SCOPES)):
            yield from _statements(child)


def _loop(node: ast.stmt) -> Loop:
    assert isinstance(node, (ast.For, ast.AsyncFor, ast.While))
    last = node.body[-1].end_lineno or node.lineno
    if isinstance(node, ast.While):
        return Loop(node.lineno, node.body[0].lineno, last, f"while {ast.unparse(node.test)}", False)
    text = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
    return Loop(node.lineno, node.body[0].lineno, last, text, isinstance(node, ast.For))


def _digest(lines: list[str]) -> str:
    """Of a function's lines; those that are empty or hold only a comment do not count, nor does where it stands."""
    kept = [line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return xxhash.xxh3_64_hexdigest(textwrap.dedent("\n".join(kept)).encode())
