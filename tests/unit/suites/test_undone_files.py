"""Whatever a program does to its files after a checkpoint: a resume finds them as they were there."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any, Callable

import pytest

from paddle_resume.suites import kept_files, undo_log
from paddle_resume.suites.program_files import ProgramFiles
from paddle_resume.suites.undo_log import UndoLog

NAMES = ["a.csv", "b.json", "c.bin", "d.txt"]


class Program:
    """One life of a program that does anything to its files."""

    def __init__(self, folder: Path, saved: Any = None) -> None:
        self.folder, self.told = folder, []  # type: Path, list[str]
        home = folder / "checkpoint"
        home.mkdir(exist_ok=True)
        log = UndoLog(home, home / ".run.files", 2, self.told.append)
        self.files = ProgramFiles(home, log, saved, self.told.append)
        if saved is not None:
            self.files.set_state_dict(saved)

    def write(self, name: str, text: str, mode: str = "w") -> None:
        with self.files.open(self.folder / name, mode) as file:
            file.write(text)

    def append(self, name: str, text: str) -> None:
        self.write(name, text, "a")

    def change(self, name: str, text: str) -> None:
        if (self.folder / name).exists():
            self.write(name, text, "r+")

    def remove(self, name: str, _: str) -> None:
        if (self.folder / name).exists() and not self.files.removes(self.folder / name):
            (self.folder / name).unlink()

    def rename(self, name: str, _: str) -> None:
        other = self.folder / NAMES[(NAMES.index(name) + 1) % len(NAMES)]
        if (self.folder / name).exists() and not self.files.moves(self.folder / name, other):
            (self.folder / name).rename(other)

    def replace(self, name: str, text: str) -> None:
        self.write("new.tmp", text)
        if not self.files.moves(self.folder / "new.tmp", self.folder / name):
            (self.folder / "new.tmp").replace(self.folder / name)

    def save_whole(self, name: str, text: str) -> None:
        new = self.folder / f".{name}.tmp"
        new.write_text(text)
        self.files.replaces(self.folder / name, new)
        new.replace(self.folder / name)

    def save(self, on_disk: bool) -> Any:
        state = json.loads(json.dumps(self.files.state_dict()))
        self.files.log.saves(on_disk=on_disk)
        return state

    def found(self) -> dict[str, str]:
        """All files, those that are appended to as they are after that."""
        for name in NAMES:
            path = self.folder / name
            entry = self.files._waiting.get(f"../{name}")
            if entry is not None and entry["size"] is not None and path.exists():
                self.append(name, "")
        return contents(self.folder)


OPERATIONS: list[Callable[[Program, str, str], None]] = [
    Program.write,
    Program.append,
    Program.append,
    Program.change,
    Program.remove,
    Program.rename,
    Program.replace,
    Program.save_whole,
]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("seed", range(60))
def test_files_are_as_they_were_at_the_checkpoint(
    seed: int, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six lives; each goes on from one of those that there are: two or three on disk, and two in memory since."""
    if not links:  # as where checkpoints are on another disk
        monkeypatch.setattr(kept_files.os, "link", _refuse)
    draw = random.Random(seed)
    program = Program(tmp_path)
    program.write("a.csv", "head\n")
    saved = [(True, program.save(True), contents(tmp_path))]
    for life in range(6):
        for number in range(draw.randrange(40)):
            if draw.random() < 0.25:
                on_disk = draw.random() < 0.4
                if on_disk:  # The one before is durable: of the older ones it has left one.
                    saved = saved[[number for number, each in enumerate(saved) if each[0]][-2:][0] :]
                saved.append((on_disk, program.save(on_disk), contents(tmp_path)))
                in_memory = [number for number, each in enumerate(saved) if not each[0]]  # of which two have room
                saved = [each for number, each in enumerate(saved) if number not in in_memory[:-2]]
            else:
                draw.choice(OPERATIONS)(program, draw.choice(NAMES), f"{life}.{number}\n" * draw.randrange(1, 4))
        if draw.random() < 0.5:
            program.files.log.is_durable()
            saved = saved[[number for number, each in enumerate(saved) if each[0]][-2:][0] :]
        disk = [number for number, each in enumerate(saved) if each[0]]
        chosen = draw.choice([*disk, *range(disk[-1] + 1, len(saved))])
        saved = saved[: chosen + 1]
        program = Program(tmp_path, saved[-1][1])
        assert program.found() == saved[-1][2]
    assert program.told == []


def _refuse(*_: Any) -> None:
    raise OSError("no links here")


def test_of_many_versions_those_are_kept_that_a_resume_may_need(tmp_path: Path) -> None:
    program = Program(tmp_path)
    kept = tmp_path / "checkpoint" / ".run.files.kept"
    for number in range(100):
        program.save_whole("b.json", str(number))
        program.save(on_disk=number % 30 == 29)
        assert not kept.exists() or len(list(kept.iterdir())) <= 5


def test_of_older_checkpoints_nothing_is_kept(tmp_path: Path) -> None:
    program = Program(tmp_path)
    kept = tmp_path / "checkpoint" / ".run.files.kept"
    for number in range(20):
        program.save_whole("b.json", str(number))
        program.save(on_disk=True)
        program.files.log.is_durable()
    assert len(list(kept.iterdir())) <= 2
    program.files.complete(is_saved=True)
    assert not kept.exists() and not (tmp_path / "checkpoint" / ".run.files").exists()


def test_who_has_removed_the_checkpoints_keeps_the_files(tmp_path: Path) -> None:
    first = Program(tmp_path)
    first.append("a.csv", "row\n")
    first.save(on_disk=True)
    first.files.log.is_durable()
    first.append("a.csv", "row\n")
    Program(tmp_path)
    assert contents(tmp_path) == {"a.csv": "row\nrow\n"}


def test_a_large_file_that_is_written_anew_is_kept_without_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (kept_files, undo_log):
        monkeypatch.setattr(module, "LARGEST_COPY", 3)
    program = Program(tmp_path)
    program.write("c.bin", "large")
    program.write("d.txt", "large")
    saved = program.save(on_disk=True)
    program.write("c.bin", "other")
    program.change("d.txt", "O")
    again = Program(tmp_path, saved)
    assert contents(tmp_path) == {"c.bin": "large", "d.txt": "Oarge"}
    assert "d.txt could not be kept as it was at the checkpoint" in again.told[0] and len(again.told) == 1


def planted(folder: Path, **changed: Any) -> dict[str, Any]:
    """The log of a stranger, who knows the names, and what it would have undone."""
    home = folder / "checkpoint"
    (home / ".run.files.kept").mkdir(parents=True)
    (home / ".run.files.kept" / "1").write_text("of a stranger")
    kept = (home / ".run.files.kept" / "1").stat()
    there = (folder / "yours.py").stat() if (folder / "yours.py").exists() else None
    note = {
        "number": 1,
        "name": "../yours.py",
        "before": [kept.st_dev, kept.st_ino],
        "device": there.st_dev if there else 0,
        "inode": there.st_ino if there else 0,
        **changed,
    }
    (home / ".run.files").write_text(json.dumps(list(note.values())) + "\n")
    return {"begun": 0, "entries": {}}


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    "changed",
    [
        {"before": [1, 2]},
        {"before": [0, 0]},
        {"before": []},
        {"before": "kept"},
        {"inode": 12345, "device": 1},
        {"name": "./../yours.py"},
        {"name": "../checkpoint/../yours.py"},
        {"number": 7},
    ],
    ids=str,
)
def test_a_strangers_log_changes_no_file(changed: dict[str, Any], is_there: bool, tmp_path: Path) -> None:
    if is_there:
        (tmp_path / "yours.py").write_text("yours")
    saved = planted(tmp_path, **changed)
    Program(tmp_path, saved)
    assert contents(tmp_path) == ({"yours.py": "yours"} if is_there else {})


def test_so_it_would_with_what_no_stranger_knows(tmp_path: Path) -> None:
    """The control: the numbers of the files on this disk."""
    (tmp_path / "yours.py").write_text("yours")
    Program(tmp_path, planted(tmp_path))
    assert contents(tmp_path) == {"yours.py": "of a stranger"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "yours").mkdir()
    (tmp_path / "yours" / "7").write_text("yours")
    os.symlink(tmp_path / "yours", tmp_path / "checkpoint" / ".run.files.kept")
    Program(tmp_path).files.complete(is_saved=True)
    Program(tmp_path, {"begun": 0, "entries": {}})
    assert contents(tmp_path / "yours") == {"7": "yours"}
