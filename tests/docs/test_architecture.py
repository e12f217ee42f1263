"""The order of the rooms: no import runs against it, and the picture of it is the one that the code gives."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

needs_linter = pytest.mark.skipif(
    importlib.util.find_spec("importlinter") is None,
    reason="import-linter is in the extra `dev`, and needs Python 3.11",
)

LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        LINT, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / ".importlinter", tmp_path)
    shutil.copytree(ROOT / "paddle_resume", tmp_path / "paddle_resume", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@needs_linter
def test_no_import_runs_against_the_order_of_the_rooms() -> None:
    ended = lint(ROOT)
    assert ended.returncode == 0, ended.stdout


@needs_linter
@pytest.mark.parametrize(
    ("module", "imported", "broken"),
    [
        ("storage/framing.py", "paddle_resume.training.trainer", "Imports go down BROKEN"),
        ("metrics/auc.py", "paddle_resume.loggers.jsonl", "Imports go down BROKEN"),
        ("training/callbacks.py", "paddle_resume.training.trainer", "No circle, in a room or between rooms BROKEN"),
        ("config/schema.py", "paddle", "Rooms that never import Paddle BROKEN"),
    ],
)
def test_one_that_does_is_found_also_for_a_type_only(copy: Path, module: str, imported: str, broken: str) -> None:
    path = copy / "paddle_resume" / module
    path.write_text(
        f"{path.read_text()}\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import {imported}\n"
    )
    ended = lint(copy)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert broken in ended.stdout


@needs_linter
def test_a_room_without_a_place_is_found(copy: Path) -> None:
    (copy / "paddle_resume" / "attic.py").write_text('"""Things."""\n')
    ended = lint(copy)
    assert ended.returncode == 1
    assert "attic" in ended.stdout


@needs_linter
def test_the_picture_of_the_rooms_is_what_the_code_gives_now() -> None:
    command = [sys.executable, str(ROOT / "tools" / "draw_rooms.py"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


def test_every_file_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+\.py)`", page))
    assert len(named) > 50
    assert [path for path in named if not (ROOT / "paddle_resume" / path).exists() and not (ROOT / path).exists()] == []
