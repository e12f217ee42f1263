"""The messages in the source: its strings that are prose, wherever they stand, and the single words that are shown."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

from message_libraries import OTHER_LIBRARIES, STATES

from paddle_resume.translations.template import PLACE, bare

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "paddle_resume"
# Text of these is for programs, or the translations themselves.
_SKIPPED_FILES = {"translations", "_version.py", "help_examples.py"}
_WORD = re.compile(r"[A-Za-z][a-z']+|[A-Za-z]")
# Two words, or a word and a value, with a space between.
_PROSE = re.compile(r"[A-Za-z]{2,}[^\s{}]* +\S|\S +[(\"'`]?[A-Za-z]{2,}")
_FORMAT_PLACE = re.compile(r"\{[A-Za-z_0-9.]*(![rsa])?(:[^{}]*)?\}")
# Prose by its form, but for programs, for the names in files, or in a form that every language has.
_NOT_SHOWN = {
    "No ccache found",
    "Philox",
    '"step": {0}',
    '"time": {0}',
    "best.final: best",
    "from {0} import main; main()",
    "%d other connections were turned away",
    "A connection from %s was turned away: %s",
    "Stopped after step (\\d+)",
    "import sys; sys.path[0] = sys.argv.pop(1); from paddle_resume.testing.fork_server import main; main()",
    "offset points",
    "outside right upper",
    "outside upper center",
    "upper right",
    "paddle_resume {0}",
}
# Calls whose strings are headings or labels, if only of one word.
_HEADINGS = {"Table", "table", "add_column", "labelled", "padded", "heading", "Check"}


class Found(NamedTuple):
    """Where a message stands, and whether everywhere as a heading."""

    files: tuple[str, ...]
    heading: bool


class Message(NamedTuple):
    """A message of the source; a heading is a single word that is shown only by itself."""

    text: str
    heading: bool


def messages_of_package() -> dict[str, Found]:
    """Each message with the files that it stands in, in the order of the files; then those of other libraries."""
    found: dict[str, Found] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if _SKIPPED_FILES & set(path.relative_to(PACKAGE).parts):
            continue
        name = path.relative_to(ROOT).as_posix()
        for text, heading in messages_of(path.read_text(encoding="utf-8")):
            before = found.get(text, Found((), True))
            files = before.files if name in before.files else (*before.files, name)
            found[text] = Found(files, before.heading and heading)
    for library, texts in OTHER_LIBRARIES.items():
        for text in texts:
            found.setdefault(text, Found((library,), False))
    for word in STATES:
        found.setdefault(word, Found(("states",), True))
    return found


def messages_of(source: str) -> list[Message]:
    """The messages of one module."""
    tree = ast.parse(source)
    passed_over = set(_passed_over(tree))
    if "import typer" in source:
        passed_over -= set(_helps(tree))
    headings, chosen = set(_headings(tree)), set(_chosen_words(tree))
    made = []
    for node in ast.walk(tree):
        if id(node) in passed_over:
            continue
        template = _template(node)
        if template is None:
            continue
        message = bare(template)
        if message in _NOT_SHOWN:
            continue
        if _is_prose(message) or (id(node) in headings | chosen and _is_word(message)):
            heading = id(node) in headings and _is_word(message)
            made.append((node.lineno, node.col_offset, Message(message, heading)))  # type: ignore[attr-defined]
    return [message for _, _, message in sorted(made)]


def _template(node: ast.AST) -> Optional[str]:
    """The string as a template with numbered places."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _numbered([_FORMAT_PLACE.sub("\0", node.value)])
    if isinstance(node, ast.JoinedStr):
        return _numbered([_part(part) for part in node.values])
    return None


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    if isinstance(value, ast.IfExp):
        texts = [side.value for side in (value.body, value.orelse) if isinstance(side, ast.Constant)]
        # Endings and the like: `resume{s|}`. Longer texts are messages of their own, and any value to this one.
        if len(texts) == 2 and all(isinstance(text, str) and len(text) < 8 and "{" not in text for text in texts):
            return "{" + "|".join(map(str, texts)) + "}"
    return "\0"


def _numbered(parts: list[str]) -> str:
    pieces = "".join(parts).split("\0")
    return pieces[0] + "".join(f"{{{number}}}{piece}" for number, piece in enumerate(pieces[1:]))


def _is_prose(message: str) -> bool:
    return bool(_PROSE.search(message)) and any(len(word) > 1 for word in _WORD.findall(PLACE.sub(" ", message)))


def _is_word(message: str) -> bool:
    return message.replace("-", "").isalpha() and len(message) > 1 and message[1:].islower()


def _passed_over(tree: ast.AST) -> Iterator[int]:
    """Docstrings, what is inside f-strings' literal parts and formats, types, patterns, and names looked up."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            yield id(body[0].value)
        if isinstance(body, list):
            # A string that stands alone, under a field as its documentation.
            yield from (id(line.value) for line in body if isinstance(line, ast.Expr))
        if isinstance(node, ast.JoinedStr):
            yield from (id(part) for part in node.values if isinstance(part, ast.Constant))
            for part in node.values:
                if isinstance(part, ast.FormattedValue) and part.format_spec is not None:
                    yield from map(id, ast.walk(part.format_spec))
        if isinstance(node, ast.Call) and _called(node) in {
            "compile",
            "sub",
            "fullmatch",
            "getattr",
            "cast",
            "TypeVar",
        }:
            yield from (id(part) for argument in node.args for part in ast.walk(argument))
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.Constant):
                yield id(annotation)


def _helps(tree: ast.AST) -> Iterator[int]:
    """The docstrings of commands, which `--help` shows: functions with options."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and isinstance(node.body[0], ast.Expr) and not node.name.startswith("_"):
            options = ast.unparse(node.args)
            if (
                "typer.Option" in options
                or "typer.Argument" in options
                or "ConfigPath" in options
                or "Source" in options
            ):
                yield id(node.body[0].value)


def _headings(tree: ast.AST) -> Iterator[int]:
    """Where one word alone is shown: column titles and labels."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in _HEADINGS:
            for argument in node.args:
                yield from map(id, ast.walk(argument))
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "columns":
            yield from map(id, ast.walk(node.value))
        elif isinstance(node, ast.For) and getattr(node.target, "id", "") == "title":
            yield from map(id, ast.walk(node.iter))
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            yield from _capitalized(node.elts[:1])
        elif isinstance(node, ast.Dict) and not all(isinstance(value, ast.Constant) for value in node.values):
            yield from _capitalized(node.keys)


def _capitalized(nodes: Sequence[Optional[ast.expr]]) -> Iterator[int]:
    """Labels such as `Resume` or `Set-up`: the first of a pair, or the key of a table of facts."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value[:1].isupper():
            yield id(node)


def _chosen_words(tree: ast.AST) -> Iterator[int]:
    """Words that an f-string chooses between."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue):
            yield from _chosen(node.value)
        # `"once" if count == 1 else f"{count} times"`
        if isinstance(node, ast.IfExp) and any(
            _is_prose(bare(_template(side) or "")) for side in (node.body, node.orelse)
        ):
            yield from _chosen(node)


def _chosen(value: ast.expr) -> Iterator[int]:
    if isinstance(value, ast.IfExp):
        yield from (id(side) for side in (value.body, value.orelse))
    if isinstance(value, ast.BinOp):
        yield from _chosen(value.left)
        yield id(value.left)
    if isinstance(value, ast.IfExp):
        yield from (part for side in (value.body, value.orelse) for part in _chosen(side))
    if isinstance(value, ast.BoolOp):
        yield from map(id, value.values)


def _called(node: ast.Call) -> str:
    function: Union[ast.expr, None] = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
