"""What is done to a program's files follows from what it opens, and from no record that somebody has sent."""

from __future__ import annotations

import builtins
import io
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paddle_resume.errors import CheckpointError
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.written_file_kind import FOLLOWED, WRITTEN_FILE, Opened
from paddle_resume.suites.file_calls import take_file_calls
from paddle_resume.suites.program_files import ProgramFiles
from paddle_resume.suites.undo_log import UndoLog

CUT = {"size": 0, "tail": "", "places": []}


class Place:
    """A folder of checkpoints with the program's files beside it."""

    def __init__(self, root: Path) -> None:
        self.home = root / "checkpoint"
        self.home.mkdir()
        self.begun = self.home / ".run.files"
        self.out = root / "out.txt"
        self.told: list[str] = []

    def files(self, saved: Any = None) -> ProgramFiles:
        return ProgramFiles(self.home, UndoLog(self.home, self.begun, 2, self.told.append), saved, self.told.append)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    homes: list[tuple[Any, str]] = [(builtins, "open"), (io, "open"), (shutil, "rmtree")]
    homes += [(os, name) for name in ("replace", "rename", "remove", "unlink", "mkdir")]
    accessor = getattr(pathlib, "_NormalAccessor", None)  # of older Pythons
    homes += [(accessor, name) for _, name in homes if accessor is not None and name in vars(accessor)]
    before = [vars(home)[name] for home, name in homes]
    yield Place(tmp_path)
    for (home, name), call in zip(homes, before):
        setattr(home, name, call)


def test_what_the_program_does_at_its_start_is_not_done_to_its_files_again(place: Place) -> None:
    first = place.files()
    with first.open(place.out, "w") as file:
        file.write("head\n")
    handle = first.open(place.out, "a")
    handle.write("one\n")
    saved = json.loads(json.dumps(first.state_dict()))
    handle.write("two\n")
    handle.close()

    again = place.files(saved)
    with again.open(place.out, "w") as file:
        file.write("head\n")
    with again.open(place.out, "r") as file:
        assert file.read() == "head\n"
    handle = again.open(place.out, "a")
    assert handle.tell() == 5
    assert place.out.read_text() == "head\none\n"
    again.set_state_dict(saved)
    assert place.out.read_text() == "head\none\n"
    handle.write("three\n")
    handle.close()
    assert place.out.read_text() == "head\none\nthree\n" and place.told == []


def test_a_file_of_the_start_that_somebody_has_removed_is_there_again(place: Place) -> None:
    first = place.files()
    with first.open(place.out, "w") as file:
        file.write("settings")
    saved = first.state_dict()
    place.out.unlink()
    again = place.files(saved)
    with again.open(place.out, "w") as file:
        file.write("settings")
    again.set_state_dict(saved)
    assert place.out.read_text() == "settings"


@pytest.mark.parametrize("mode", ["w", "wb", "a", "ab", "w+", "wb+", "x"])
def test_an_open_file_goes_on_in_each_mode(mode: str, place: Place) -> None:
    def write(handle: Any, text: str) -> None:
        handle.write(text.encode() if "b" in mode else text)

    first = place.files()
    handle = first.open(place.out, mode)
    write(handle, "one ä ")
    saved = first.state_dict()
    before = place.out.read_bytes()
    write(handle, "lost")
    handle.close()
    again = place.files(saved)
    handle = again.open(place.out, mode)
    write(handle, "begun")
    again.set_state_dict(saved)
    write(handle, "two")
    handle.close()
    assert place.out.read_bytes() == before + b"two"


def test_a_record_cuts_no_file_that_the_program_does_not_write(place: Place) -> None:
    place.out.write_text("of somebody")
    saved = {"begun": 0, "entries": {"../out.txt": CUT}}
    files = place.files(saved)
    files.set_state_dict(saved)
    with files.open(place.out, "r") as file:
        assert file.read() == "of somebody"
    assert place.out.read_text() == "of somebody"


@pytest.mark.parametrize("is_its", [False, True])
def test_a_file_that_was_begun_after_the_checkpoint_goes_if_it_is_the_very_one(is_its: bool, place: Place) -> None:
    place.out.write_text("late")
    status = place.out.stat()
    notes = [[0, "../first.txt", -1, 1, 1], [1, "../out.txt", -1, status.st_dev, status.st_ino + (not is_its)]]
    place.begun.write_text("".join(json.dumps(note) + "\n" for note in notes))
    place.files({"begun": 1, "entries": {}})
    assert place.out.exists() != is_its
    assert "out.txt" not in place.begun.read_text()


def test_so_does_the_first_file_of_all(place: Place) -> None:
    first = place.files()
    saved = first.state_dict()
    first.open(place.out, "a").close()
    place.files(saved)
    assert not place.out.exists()


@pytest.mark.parametrize("line", ["", "{}", "[1]", "nonsense", '[1, "../out.txt", -1, "b", "c"]', "[" * 5000, "\xff"])
def test_an_odd_note_is_passed_over(line: str, place: Place) -> None:
    place.out.write_text("of somebody")
    place.begun.write_text(f'[0, "x", 0, 1, 1]\n{line}\n', encoding="latin-1")
    place.files({"begun": 1, "entries": {}})
    assert place.out.read_text() == "of somebody"


@pytest.mark.parametrize(
    "state",
    [
        [],
        {"begun": -1},
        {"begun": "1"},
        {"entries": []},
        {"entries": {"a": None}},
        {"entries": {"a": {**CUT, "size": -1}}},
        {"entries": {"a": {**CUT, "tail": 3}}},
        {"entries": {"a": {**CUT, "places": [True]}}},
    ],
)
def test_a_damaged_record_is_refused(state: Any, place: Place) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        place.files().differences(state)


@pytest.mark.parametrize("name", ["../out.txt", "/etc/passwd", "../../../../../../etc/passwd", "", "a/b"])
def test_a_record_opens_no_file_that_this_run_did_not_write(name: str, place: Place) -> None:
    place.out.write_text("of somebody")
    files = place.files({"begun": 0, "entries": {}})
    with pytest.raises(Problem, match="is not the file that this run wrote: put"):
        files.reopen(Opened(name, "w", {}))
    assert place.out.read_text() == "of somebody"


@pytest.mark.parametrize("opened", [("zz", {}), ("w", {"encoding": "klingon"}), ("w", {"buffering": "many"})])
def test_a_file_is_not_opened_oddly(opened: tuple[str, dict[str, Any]], place: Place) -> None:
    files = place.files()
    files.open(place.out, "w").close()
    with pytest.raises(Problem, match="cannot be opened"):
        files.reopen(Opened("../out.txt", *opened))


@pytest.mark.parametrize("odd", [None, 3, [], ["a"], ["a", "w", []], ["a", "w", {"opener": 1}], ["a", 1, {}]])
def test_a_record_of_an_open_file_has_its_form(odd: Any) -> None:
    with pytest.raises(Problem):
        WRITTEN_FILE.check(odd, None)  # type: ignore[arg-type]


def test_what_is_written_whole_after_the_start_needs_no_place_in_a_record(place: Place) -> None:
    files = place.files()
    assert files.state_dict()["entries"] == {}
    for number in range(50):
        with files.open(place.home / f"{number}.json", "w") as file:
            file.write("{}")
    assert files.state_dict() == {"begun": 50, "entries": {}}


def test_files_of_libraries_and_devices_are_not_followed(place: Place) -> None:
    files = place.files()
    take_file_calls(files)
    with open(os.devnull, "w"):
        pass
    np.save(place.home / "array.npy", np.zeros(2))
    with place.out.open("w") as file:
        assert FOLLOWED[file].name == "../out.txt"
        assert WRITTEN_FILE.save(file, None, "", None)[:2] == ["../out.txt", "w"]  # type: ignore[arg-type]
    # What a program has NumPy write is the program's.
    assert set(files.state_dict()["entries"]) == {"../out.txt", "array.npy"}
