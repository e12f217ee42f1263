"""Files that a wrapped program writes by `open()` end as those of a straight run, and others are left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import forking
import paddle
import pytest
from wrapping import differences, straight, through, wrap, wrap_anew

pytestmark = pytest.mark.skipif(
    paddle.__version__.startswith("2."), reason="Paddle 2.6 does not give its CPU generator away"
)

# A save comes with every third of twelve batches, four of which are an epoch.
INTERRUPTIONS = [
    ("4:SIGKILL",),
    ("5:SIGTERM",),
    ("7:SIGKILL", "8:SIGKILL"),
    ("4:SIGKILL", "5:SIGINT", "9:SIGKILL", "11:SIGTERM"),
]


@pytest.mark.pythons
@pytest.mark.parametrize("interruptions", INTERRUPTIONS, ids=lambda each: str(len(each)) + each[0])
def test_files_end_as_those_of_a_straight_run(interruptions: tuple[str, ...], tmp_path: Path) -> None:
    assert differences(straight(tmp_path, "files"), through(tmp_path, "files", *interruptions)) == []
    assert "written on as it is" not in (tmp_path / "told.txt").read_text()


@pytest.mark.full
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("step", range(4, 12))
def test_so_they_do_after_any_batch(step: int, signal: str, tmp_path: Path) -> None:
    assert differences(straight(tmp_path, "files"), through(tmp_path, "files", f"{step}:{signal}")) == []


@pytest.mark.pythons
@pytest.mark.parametrize("held_in", ["variable", "attribute"])
def test_a_file_that_was_opened_in_mid_run_is_held_open_again(held_in: str, tmp_path: Path) -> None:
    interrupted = through(tmp_path, "holding_files", "6:SIGTERM", "11:SIGKILL", arguments=[held_in])
    assert differences(straight(tmp_path, "holding_files", held_in), interrupted) == []


WAYS = [
    "reloaded",
    "arrays",
    "history",
    "whole history",
    "in place",
    "turning",
    "indexed",
    "folders",
    "copied",
    "packed",
    "dated",
]
AT_THE_START = ["made", "emptied", "removed", "unlinked", "moved", "turned", "set aside"]


@pytest.mark.pythons
@pytest.mark.parametrize("way", [*WAYS, *AT_THE_START])
def test_what_a_program_reads_back_or_clears_away_is_as_it_was(way: str, tmp_path: Path) -> None:
    interrupted = through(tmp_path, "own_files", "5:SIGKILL", "6:SIGTERM", "8:SIGKILL", arguments=[way])
    assert differences(straight(tmp_path, "own_files", way), interrupted) == []


@pytest.mark.full
@pytest.mark.parametrize("way", [*WAYS, *AT_THE_START])
@pytest.mark.parametrize("step", range(4, 12))
def test_so_it_is_after_any_batch(step: int, way: str, tmp_path: Path) -> None:
    interrupted = through(tmp_path, "own_files", f"{step}:SIGKILL", f"{step + 1}:SIGKILL", arguments=[way])
    assert differences(straight(tmp_path, "own_files", way), interrupted) == []


def test_a_file_that_was_changed_by_somebody_is_written_on_as_it_is(tmp_path: Path) -> None:
    assert wrap(tmp_path, "holding_files", "attribute", DIE="6:SIGTERM").returncode == 143
    book = tmp_path / "wrapped" / "book.txt"
    assert len(book.read_text().splitlines()) == 6
    book.write_text("of somebody\n")
    done = wrap(tmp_path, "holding_files", "attribute")
    assert done.returncode == 0 and "book.txt does not begin as it did at the checkpoint" in done.stderr, done.stderr
    assert book.read_text().splitlines()[0] == "of somebody" and len(book.read_text().splitlines()) == 7


def test_a_file_that_is_another_one_is_not_opened_for_a_program(tmp_path: Path) -> None:
    assert wrap(tmp_path, "holding_files", "attribute", DIE="6:SIGTERM").returncode == 143
    book = tmp_path / "wrapped" / "book.txt"
    (tmp_path / "other").write_bytes(book.read_bytes().replace(b"6", b"7"))
    (tmp_path / "other").replace(book)
    refused = wrap(tmp_path, "holding_files", "attribute")
    assert refused.returncode == 2 and "is not the file that this run wrote: put that" in refused.stderr, refused.stderr
    assert len(book.read_text().splitlines()) == 6


def test_a_run_that_is_copied_with_its_files_goes_on_in_the_copy(tmp_path: Path) -> None:
    whole = straight(tmp_path, "holding_files", "attribute")
    (tmp_path / "here").mkdir()
    assert wrap(tmp_path / "here", "holding_files", "attribute", DIE="6:SIGTERM").returncode == 143
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert wrap(tmp_path / "there", "holding_files", "attribute").returncode == 0
    assert differences(whole, tmp_path / "there" / "wrapped") == []


def test_files_would_not_end_so_if_nobody_followed_them(tmp_path: Path) -> None:
    path = instead_of(tmp_path, "file_calls", "take_file_calls", "lambda files: None")
    assert wrap_anew(tmp_path, "holding_files", "attribute", DIE="6:SIGTERM", **path).returncode == 143
    assert wrap_anew(tmp_path, "holding_files", "attribute", **path).returncode == 0
    assert differences(straight(tmp_path, "holding_files", "attribute"), tmp_path / "wrapped") == ["book.txt"]


def test_weights_would_not_end_so_if_nothing_were_undone(tmp_path: Path) -> None:
    path = instead_of(tmp_path, "undo_log", "UndoLog._undo", "lambda *_: None")
    assert wrap_anew(tmp_path, "own_files", "reloaded", DIE="5:SIGKILL", **path).returncode == -9
    assert wrap_anew(tmp_path, "own_files", "reloaded", **path).returncode == 0
    assert "final.pickle" in differences(straight(tmp_path, "own_files", "reloaded"), tmp_path / "wrapped")


def instead_of(folder: Path, module: str, name: str, other: str) -> dict[str, str]:
    """The control: this is put in its place in the package, for the program and what it starts."""
    (folder / "sitecustomize.py").write_text(
        f"import paddle_resume.suites.{module} as module\nmodule.{name} = {other}\n"
    )
    return {"PYTHONPATH": f"{folder}:{Path(forking.__file__).parents[2]}"}
