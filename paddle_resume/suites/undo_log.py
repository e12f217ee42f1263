"""What a wrapped run does to its files after a checkpoint, noted so that a resume finds them as they were there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

from paddle_resume.checkpoint.memory_place import SLOTS
from paddle_resume.storage.durable_files import open_in_place
from paddle_resume.storage.regular_files import read_regular
from paddle_resume.suites.kept_files import LARGEST_COPY, KeptFiles
from paddle_resume.suites.written_file import ABSENT, place_of

_MOST_BYTES = 16 << 20
_LOST = "lost"
_SAVE = "//save"
"""No name of a file: a checkpoint on disk was begun."""
_NOWHERE = (0, 0)
_Place = tuple[int, int]
_Before = Union[int, str, list[int], None]
"""How long the file was, or ABSENT; or on which disk and where lies what it held, in the folder of the log under the
number of the note; or `_LOST`. None if nothing is to be undone by the note."""


class _Note(NamedTuple):
    number: int
    name: str
    before: _Before
    device: int
    inode: int

    @property
    def place(self) -> _Place:
        return self.device, self.inode


class UndoLog:
    """The notes of one process of a run, in a file; what files held before is kept in a folder beside it.

    A file is brought back only if it is the very one that the run wrote, and from the very one that was kept, by disk
    and number there, which no log of a stranger's can tell: what somebody else has put in its place stays.

    Args:
        home: the folder from which files are named.
        path: the file of the notes.
        keep: how many checkpoints on disk may be gone on from.
    """

    def __init__(self, home: Path, path: Path, keep: int, tell: Callable[[str], None]) -> None:
        self._home = home
        self._tell = tell
        self._path = path
        self._kept = KeptFiles(path.with_name(f"{path.name}.kept"))
        self._keep = keep
        self._places: dict[str, _Place] = {}
        """By name, on which disk and where each file is that this run has written."""
        self._since: dict[str, bool] = {}
        """By name what was noted since the last save: whether all of the file can be undone, or what was appended."""
        self._whole: dict[str, list[int]] = {}
        """By name the notes of which one tells all that the file was."""
        self._next = 0
        self._saving: Optional[int] = None
        self._on_disk: list[int] = []
        """How many notes there were at each checkpoint on disk, the newest last."""
        self._in_memory: list[int] = []

    @property
    def count(self) -> int:
        """How many notes were made so far: with that a checkpoint says where in them it stands."""
        return self._next

    def place(self, name: str) -> Optional[_Place]:
        """Where the file is that this run has written by that name; None if it has written none."""
        return self._places.get(name)

    def names_below(self, folder: Path) -> list[str]:
        """The files in this folder that this run has written."""
        return [name for name in self._places if self._of(name).is_relative_to(folder)]

    def forget(self) -> None:
        """Nothing of what was done is undone any more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self._kept.clear()

    def go_back(self, count: int, appended: Collection[str]) -> None:
        """Undo all but the first `count` notes, which a checkpoint tells.

        Files in `appended` are cut by somebody else, and not made shorter here.
        """
        notes = self._read()
        done = [note for note in notes if note.number < count or note[:2] == (count, _SAVE)]
        later = notes[len(done) :]
        self._next = max(count, done[-1].number + 1 if done else 0)
        self._in_memory = [count]  # It may be one of those.
        # One more than are kept: the last may have failed.
        self._on_disk = [note.number for note in done if note.name == _SAVE][-self._keep - 1 :]
        self._places = {note.name: note.place for note in done if note.name != _SAVE}
        if later:
            self._undo(later, appended)
            self._rewrite(done)
        self._kept.let_go(number for number in self._kept.numbers() if number >= self._next)
        for note in done:
            if _is_whole(note.before):
                self._whole.setdefault(note.name, []).append(note.number)
        for name in {note.name for note in later} & set(self._places):
            place = place_of(self._of(name))
            if place is not None and place != self._places[name]:
                self._note(name, None, place)
        self._since.clear()  # Nothing was done by the program yet.

    def changes(self, name: str, *, appends: bool = False, empties: bool = False) -> None:
        """The program is about to write to a file, perhaps only at its end, or to empty it.

        One that is not there is for `made`.
        """
        path = self._of(name)
        place = place_of(path)
        is_whole, is_noted = self._since.get(name), place == self._places.get(name)
        if place is None or (is_noted and (is_whole or (appends and name in self._since))):
            return
        if is_whole or (appends and name in self._since):
            self._note(name, None, place)
        elif appends:
            self._note(name, path.stat().st_size, place)
        elif empties and path.stat().st_size > LARGEST_COPY:
            self.removes(name)
            with suppress(OSError):
                path.unlink()  # What is kept is the file itself; the program makes another.
        else:
            self._note(name, self._kept.copy(path, self._next) or _LOST, place)

    def made(self, name: str, *, was_there: bool) -> None:
        """The program has opened a file: one that was not there, or may be another than before."""
        place = place_of(self._of(name))
        if place is not None and not (was_there and place == self._places.get(name)):
            self._note(name, None if was_there or name in self._since else ABSENT, place)

    def made_folder(self, name: str) -> None:
        """The program has made a folder."""
        status = self._of(name).stat()
        self._note(name, None, (status.st_dev, status.st_ino))

    def is_made_folder(self, name: str) -> bool:
        """Whether it is a folder that this run has made."""
        path = self._of(name)
        return path.is_dir() and self._places.get(name) == (path.stat().st_dev, path.stat().st_ino)

    def replaces(self, name: str, new: Path) -> None:
        """The program is about to put the file `new` in the place of this one, or there where none is."""
        path, place = self._of(name), place_of(new)
        if place is None:
            return
        before: _Before = None
        if not self._since.get(name):
            before = self._kept.link(path, self._next) or _LOST if path.is_file() else ABSENT
        self._note(name, before, place)

    def removes(self, name: str, *, is_moved: bool = False) -> None:
        """The program is about to remove a file that it has written, or to move it, and may write on to it there."""
        path = self._of(name)
        if path.is_file():
            before: _Before = None
            if not self._since.get(name):
                copied = self._kept.copy(path, self._next) if is_moved else None
                before = copied or self._kept.link(path, self._next) or _LOST
            self._note(name, before, _NOWHERE)

    def saves(self, *, on_disk: bool) -> None:
        """A checkpoint is made of how everything is now."""
        changed = [*self._since]
        if on_disk:
            count = self._next
            self._note(_SAVE, None, _NOWHERE)
            self.is_durable()  # Only one is under way at a time; that the one before is, not all processes are told.
            self._saving = count
        else:
            self._in_memory = [*self._in_memory, self._next][-len(SLOTS) :]
        self._since.clear()
        for name in changed:
            self._keep_needed(name)

    def is_durable(self) -> None:
        """The checkpoint on disk that was made last will stay: what only older ones need can go."""
        if self._saving is None:
            return
        self._on_disk = [*self._on_disk, self._saving][-self._keep :]
        self._saving = None
        if len(self._on_disk) < self._keep:
            return
        self._kept.let_go(number for number in self._kept.numbers() if number < self._on_disk[0])
        if self._path.exists() and self._path.stat().st_size > _MOST_BYTES // 4:
            self._rewrite(self._needed(self._read()))

    def _keep_needed(self, name: str) -> None:
        """For each checkpoint the first that was kept after it is enough, as that is what it finds."""
        saved = [*self._on_disk, *self._in_memory, *([] if self._saving is None else [self._saving])]
        kept = self._whole.get(name, [])
        needed = {min((number for number in kept if number >= count), default=-1) for count in saved}
        self._kept.let_go(number for number in kept if number not in needed)
        self._whole[name] = [number for number in kept if number in needed]

    def _needed(self, notes: list[_Note]) -> list[_Note]:
        """Of old notes the last of each file is enough, which tells where it is."""
        last = {note.name: note.number for note in notes if note.number < self._on_disk[0]}
        return [note for note in notes if note.number >= last.get(note.name, 0)]

    def _of(self, name: str) -> Path:
        return Path(os.path.normpath(self._home / name))

    def _note(self, name: str, before: _Before, place: _Place) -> None:
        with suppress(OSError):  # A folder that cannot be written is told of by the checkpoints.
            file = open_in_place(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, (json.dumps([self._next, name, before, *place]) + "\n").encode())
            finally:
                os.close(file)
        if _is_whole(before):
            self._whole.setdefault(name, []).append(self._next)
        self._since[name] = self._since.get(name, False) or _is_whole(before)
        self._next += 1
        if name != _SAVE:
            self._places[name] = place

    def _undo(self, notes: list[_Note], appended: Collection[str]) -> None:
        by_name: dict[str, list[_Note]] = {}
        for note in notes:
            by_name.setdefault(note.name, []).append(note)
        for name, of_file in by_name.items():
            path = self._of(name)
            if name == _SAVE or os.path.relpath(path, self._home) != name:
                continue
            # One that was noted and not yet put in its place may be the last; more is no log of ours.
            if (place_of(path) or _NOWHERE) not in [note.place for note in of_file[-2:]]:
                continue
            for note in reversed(of_file):
                with suppress(OSError):
                    self._undo_one(path, note, name in appended)

    def _undo_one(self, path: Path, note: _Note, is_appended: bool) -> None:
        if isinstance(note.before, list):
            self._kept.put_back(note.number, note.before, path)
        elif note.before == _LOST:
            self._tell(
                f"The file {path} could not be kept as it was at the checkpoint, for its size or for lack of room: it "
                "is as the program has left it since."
            )
        elif note.before == ABSENT:
            path.unlink(missing_ok=True)
        elif isinstance(note.before, int) and not is_appended and 0 <= note.before < path.stat().st_size:
            os.truncate(path, note.before)

    def _read(self) -> list[_Note]:
        notes = []
        with suppress(OSError, ValueError, TypeError, RecursionError):
            for line in read_regular(self._path, _MOST_BYTES).decode().splitlines():
                note = _Note(*json.loads(line))
                if [type(each) for each in (note.number, note.name, note.device, note.inode)] != [int, str, int, int]:
                    break
                notes.append(note)
        return notes

    def _rewrite(self, notes: list[_Note]) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        with suppress(OSError):
            file = open_in_place(new, os.O_WRONLY | os.O_TRUNC)
            try:
                os.write(file, "".join(json.dumps(note) + "\n" for note in notes).encode())
            finally:
                os.close(file)
            new.replace(self._path)


def _is_whole(before: _Before) -> bool:
    """Whether it tells all that the file was, and not what it was before something was appended."""
    return before == ABSENT or isinstance(before, (list, str))
