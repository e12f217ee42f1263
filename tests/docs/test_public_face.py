"""What users import: docs and examples keep to it, every name of it is there, and it is imported without Paddle."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

import paddle_resume

# With the face itself, all that `paddle_resume/__init__.py` promises.
ROOMS = ("convert", "data", "errors", "hapi", "loggers", "metrics", "models", "testing", "toolbox")
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(path for path in ROOT.glob("docs/**/*.md") if path.parent.name != "api"),
    *sorted(ROOT.glob("examples/*.py")),
]


def public(room: str) -> list[str]:
    """The names that a module offers: its `__all__`, or what it defines itself."""
    module = importlib.import_module(room)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == room]
    return sorted(getattr(module, "__all__", [name for name in own if not name.startswith("_")]))


OFFERED = {room: public(room) for room in ("paddle_resume", *(f"paddle_resume.{room}" for room in ROOMS))}


def code(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield text
    else:
        yield from re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def imported(source: str) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from this package; the name is empty for `import paddle_resume...`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "paddle_resume":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "paddle_resume")


def foreign_to_the_face(source: str) -> list[str]:
    return [
        f"{module} {name}".strip()
        for module, name in imported(source)
        if module not in OFFERED or (name and name not in OFFERED[module])
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_import_from_the_public_face_only(path: Path) -> None:
    assert [wrong for block in code(path) for wrong in foreign_to_the_face(block)] == []


def test_enough_is_imported_for_this_to_mean_something() -> None:
    assert len({name for path in PAGES for block in code(path) for name in imported(block)}) > 40


@pytest.mark.parametrize(
    "line",
    [
        "from paddle_resume.training.trainer import Trainer",
        "from paddle_resume import Saver",
        "from paddle_resume.data import Feed",
        "import paddle_resume.training.trainer",
    ],
)
def test_an_import_from_within_is_found(line: str) -> None:
    assert len(foreign_to_the_face(line)) == 1


@pytest.mark.parametrize("room", OFFERED)
def test_every_name_is_there_and_says_what_it_is(room: str) -> None:
    module = importlib.import_module(room)
    assert OFFERED[room]
    for name in OFFERED[room]:
        value = getattr(module, name)
        assert name.startswith("__") or inspect.getdoc(value), f"{room}.{name} has no docstring"
        # Not one that is inherited, such as that of dict or Exception.
        assert not inspect.isclass(value) or vars(value).get("__doc__"), f"{room}.{name} has no docstring of its own"


@pytest.mark.parametrize("package", ["paddle_resume", "paddle_resume.data"])
def test_what_is_loaded_late_is_what_a_type_checker_is_told(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    (told,) = [node.body for node in tree.body if isinstance(node, ast.If)]
    names = {node.names[0].name: node.module for node in told if isinstance(node, ast.ImportFrom)}
    assert names == {name: f"{package}.{home}" for name, home in module._HOMES.items()}


def test_the_docstring_of_the_package_names_every_room() -> None:
    assert set(re.findall(r"`paddle_resume\.(\w+)`", paddle_resume.__doc__ or "")) == set(ROOMS)


def test_importing_the_package_its_data_and_its_toolbox_imports_no_paddle() -> None:
    program = "import sys, paddle_resume, paddle_resume.data, paddle_resume.toolbox, paddle_resume.errors\n"
    program += "sys.exit('paddle' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
