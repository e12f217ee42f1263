"""Files that a wrapped program writes: on a resume each goes on from what it was at the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.written_file_kind import FOLLOWED, Opened
from paddle_resume.suites.start_copies import StartCopies
from paddle_resume.suites.undo_log import UndoLog
from paddle_resume.suites.written_file import (
    WRITES,
    Written,
    begins_as,
    cut,
    is_size,
    is_sound,
    place_of,
    plain_open,
    put_to,
)


class ProgramFiles:
    """Owner's part: what the files were that the program's own code writes, and how far those that it appends to.

    Until a run that goes on stands where it was interrupted, the program works on copies of the files that it had
    written before: what it does at its start, such as emptying its log, was done once already.

    Args:
        home: the folder of the checkpoints, from which files are named.
        log: what is done to files after a checkpoint.
        saved: the state to go on from; None for a new run.
        others: files of the run that are not followed here, and folders of such.
    """

    def __init__(
        self,
        home: Path,
        log: UndoLog,
        saved: Optional[Mapping[str, Any]],
        tell: Callable[[str], None],
        *,
        others: Collection[str] = (),
    ) -> None:
        self._home = home.resolve()
        self.log = log
        self._tell = tell
        self._others = others
        self._start: Optional[StartCopies] = None if saved is None else StartCopies()
        """Until the program stands where it was interrupted."""
        self._of_start: set[str] = set()
        """What the program opens before it trains, as it will in each process."""
        self._trains = False
        entries = (saved or {}).get("entries", {})
        self._waiting: dict[str, dict[str, Any]] = {} if self.differences(saved or {}) else dict(entries)
        """What the checkpoint tells of files that were not opened again yet."""
        self._written: dict[str, Written] = {}
        self._goes_on = saved is not None
        self._reopened: set[str] = set()
        """Those that the program is to hold open, and had not opened itself in this process."""
        if saved is None:
            log.forget()
        else:
            measured = {name: each for name, each in self._waiting.items() if each["size"] is not None}
            log.go_back(saved.get("begun", 0), measured)
            for name, entry in measured.items():
                path = self._path(name)
                if place_of(path) is not None and place_of(path) == log.place(name):
                    cut(path, entry)  # The program may read it first. Others are cut when it opens them to write.

    @property
    def reads(self) -> bool:
        """Whether it has to be asked for files that are only read."""
        return self._start is not None

    def open(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        """As Python's `open`, for a file of the program's own."""
        path = Path(file).absolute()
        name, writes = self._name(path), not WRITES.isdisjoint(mode)
        if self._start is not None and (name in self._start or (writes and self._is_of_run(name))):
            options.pop("opener", None)  # That of an older `pathlib`, which would open the file itself.
            copy = self._start.of(name, path, empties=not {"w", "x"}.isdisjoint(mode))
            handle = plain_open(copy, mode, *args, **options)
        elif not writes:
            return plain_open(file, mode, *args, **options)
        else:
            handle = self._open_real(name, path, mode, lambda: plain_open(file, mode, *args, **options))
            if place_of(path) is None:
                return handle
        if writes:
            if not self._trains:
                self._of_start.add(name)
            self._follow(handle, path, Opened.by(name, mode, args, options))
        return handle

    def moves(self, source: Path, target: Path) -> bool:
        """The program is about to put one file in the place of another; True if that is done."""
        name, new_name = self._name(source), self._name(target)
        below = self.log.names_below(source) if source.is_dir() else []
        if self._start is not None and below:
            self._start.remove_folder(source, below)
            return True
        if self._start is not None and any(each in self._start or self._is_of_run(each) for each in (name, new_name)):
            self._start.of(name, source)
            self._start.move(name, new_name)
            return True
        for each in below or [name]:
            place = self._path(each)
            if self._is_of_run(each) and place.is_file():
                self.log.removes(each, is_moved=True)
                self.log.replaces(self._name(target / place.relative_to(source)), place)
        return False

    def removes(self, path: Path) -> bool:
        """The program is about to remove a file; True if that is done."""
        if self._start is not None and not path.exists():
            return True  # It was removed at the first start.
        if not self._is_of_run(self._name(path)):
            return False
        if self._start is not None:
            self._start.remove(self._name(path))
            return True
        self.log.removes(self._name(path))
        return False

    def removes_folder(self, folder: Path) -> bool:
        """The program is about to remove all that is in a folder; True if that is done."""
        others = [each for each in self._others if self._path(each).is_relative_to(folder)]
        names = [*self.log.names_below(folder), *others]
        if self._start is not None and names:
            self._start.remove_folder(folder, names)
            return True
        for name in names:
            self.log.removes(name)
        # It may have been removed by the process that was killed.
        return self._goes_on and not folder.exists()

    def makes_folder(self, folder: Path) -> bool:
        """The program is about to make a folder; True if that is done."""
        start = self._start if folder.is_dir() else None
        return start is not None and (self.log.is_made_folder(self._name(folder)) or start.makes_again(folder))

    def made_folder(self, folder: Path) -> None:
        """The program has made a folder."""
        self.log.made_folder(self._name(folder))

    def instead(self, path: Path) -> Path:
        """Where what is to be saved at `path` as a whole is to go: to a copy, if the program had saved it before."""
        name = self._name(path)
        if self._start is not None and self._is_of_run(name):
            return self._start.of(name, path, empties=True)
        return path

    def replaces(self, path: Path, new: Path) -> None:
        """What lies at `new` is about to be put in the place of `path`."""
        if self._start is None or not self._start.has(path):
            self.log.replaces(self._name(path), new)

    def complete(self, *, is_saved: bool) -> None:
        """The run is complete: if that is saved, nothing of it is undone any more."""
        if is_saved:
            self.log.forget()

    def reopen(self, opened: Opened) -> Any:
        """A file that the program held open at the checkpoint, and has not opened in this process.

        Raises Problem if it is not the very file that this run wrote.
        """
        path = self._require_written(opened.name)
        try:  # Not emptied, as `w` would.
            handle = plain_open(path, opened.mode.replace("w", "a").replace("x", "a"), **opened.options)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise Problem(f"the program held {path} open to write to, which cannot be opened: {error}") from error
        self._reopened.add(opened.name)
        self._follow(handle, path, opened)
        return handle

    def move(self, handle: Any, opened: Opened) -> None:
        """As `reopen`, for a file that is open already, on another one."""
        path = self._require_written(opened.name)
        self._reopened.add(opened.name)
        self._written[FOLLOWED[handle].name].closed(handle)
        self._follow(handle, path, opened)

    def _require_written(self, name: str) -> Path:
        """Where that file is; what a record alone tells is not to lead a program to any file of a user's."""
        path = self._path(name)
        is_the_one = self.log.place(name) is not None and place_of(path) == self.log.place(name)
        if not is_the_one and not (path.is_relative_to(self._home.parent) and begins_as(path, self._waiting.get(name))):
            raise Problem(
                f"the program held {path} open to write to, and what lies there is not the file that this run wrote: "
                "put that one back"
            )
        return path

    def _follow(self, handle: Any, path: Path, opened: Opened) -> None:
        FOLLOWED[handle] = opened
        self._written.setdefault(opened.name, Written(path)).opened(handle, "a" in opened.mode)

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self._home)

    def _path(self, name: str) -> Path:
        return Path(os.path.normpath(self._home / name))

    def _is_of_run(self, name: str) -> bool:
        return name in self._waiting or name in self._others or self.log.place(name) is not None

    def _open_real(self, name: str, path: Path, mode: str, open_it: Callable[[], Any]) -> Any:
        """Open one of the program's own files, which may hold what comes after the checkpoint."""
        entry, written = self._waiting.get(name), self._written.get(name)
        if entry is not None and "a" in mode:
            self._cut(path, entry)
        is_there, is_measured = path.is_file(), entry is not None and entry["size"] is not None
        # One that is appended to already is known by its length in each checkpoint.
        is_known = "a" in mode and ((written is not None and written.is_appended_to) or is_measured)
        if is_there and not is_known:
            self.log.changes(name, appends="a" in mode, empties="w" in mode)
        handle = open_it()
        self._waiting.pop(name, None)
        self.log.made(name, was_there=is_there)
        return handle

    def state_dict(self) -> dict[str, Any]:
        """What of the files the program has opened, and of those of the run before that wait for it."""
        self._trains = True
        kept = [name for name, each in self._written.items() if name in self._of_start or each.is_written_on]
        self._written = {name: self._written[name] for name in kept}
        written = {name: each.state() for name, each in self._written.items()}
        return {"begun": self.log.count, "entries": {**self._waiting, **written}}

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """The program stands where it stood at the checkpoint: its files do too, and what it holds open writes on."""
        copies, self._start, self._trains = self._start or StartCopies(), None, True
        self._waiting = dict(state.get("entries", {}))
        for name, written in self._written.items():
            entry = self._waiting.get(name)
            if entry is None or not (name in copies or name in self._reopened):
                continue
            handles = written.open_handles()
            if entry["size"] is None and name in copies and not written.path.exists():
                copies.put(name, written.path)  # Somebody has removed it since.
            if entry["size"] is not None and handles and entry["places"]:
                self._put(handles, name, written.path)
            # Else it waits until it is opened again.
        for name in [name for name, entry in self._waiting.items() if entry["places"]]:
            self._find_holder(name)
        self._written = {name: each for name, each in self._written.items() if name not in self._waiting}
        self._reopened.clear()
        copies.clear()

    def _put(self, handles: list[Any], name: str, path: Path) -> None:
        """Have open files write to the one at `path`, each from where it stood at the checkpoint."""
        entry = self._waiting.pop(name)
        is_cut = self._cut(path, entry)
        for handle, place in zip(handles, entry["places"]):
            put_to(handle, path, FOLLOWED[handle].mode, place if is_cut else None)

    def _find_holder(self, name: str) -> None:
        """What holds that file open cannot be looked into, such as a writer of `codecs`: in this process it has opened
        one of another path, in a folder that is named by the time of the start."""
        path = self._path(name)
        found = [each for each in self._written.values() if each.path.name == path.name and each.path != path]
        handles = found[0].open_handles() if len(found) == 1 else []
        try:
            if len(handles) != len(self._waiting[name]["places"]):
                raise Problem(f"the program held {path} open to write to, and nothing is known to hold it open now")
            for handle in handles:
                self.move(handle, FOLLOWED[handle]._replace(name=name))
            self._put(handles, name, path)
        except Problem as error:
            self._tell(f"What the program writes to {path} may be lost: {error}.")

    def differences(self, state: Any) -> list[Difference]:
        """None: files are not the run. Raises CheckpointError for no state."""
        begun, entries = (state.get("begun", 0), state.get("entries", {})) if isinstance(state, Mapping) else (None, {})
        if not is_size(begun) or not isinstance(entries, Mapping) or not all(map(is_sound, entries.values())):
            raise CheckpointError("The checkpoint's record of the program's files is damaged; use another checkpoint.")
        return []

    def written_files(self) -> list[Path]:
        """Those that are written on."""
        return [each.path for each in self._written.values() if each.is_written_on]

    def _cut(self, path: Path, entry: Mapping[str, Any]) -> bool:
        is_cut = cut(path, entry)
        if not is_cut:
            self._tell(
                f"The file {path} does not begin as it did at the checkpoint: the program has begun it anew since, or "
                "somebody has changed it. It is written on as it is."
            )
        return is_cut
