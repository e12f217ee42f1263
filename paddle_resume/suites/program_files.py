"""Files that a wrapped program writes by `open()`: on a resume each goes on from where it was at the checkpoint."""

from __future__ import annotations

import builtins
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.uncaptured import is_users
from paddle_resume.found_state.written_file_kind import FOLLOWED, OPENER, Opened
from paddle_resume.storage.durable_files import open_in_place
from paddle_resume.storage.regular_files import read_regular
from paddle_resume.suites.written_file import (
    ABSENT,
    Written,
    begins_as,
    cut,
    is_size,
    is_sound,
    place_of,
    plain_open,
    put_to,
    take_back,
)

# Through these a program opens files of its own; what other libraries open is theirs.
_THROUGH = ("pathlib", "codecs", "pandas", "numpy")
_MOST_FRAMES = 12
_MOST_BEGUN = 16 << 20
_WRITES = frozenset("wax+")


class ProgramFiles:
    """Owner's part: how far each file was written that the program's own code opens.

    Until a run that goes on stands where it was interrupted, the program writes to copies of the files that it had
    written before: what it does at its start, such as emptying its log, was done once already.

    Args:
        home: the folder of the checkpoints, from which files are named.
        begun: where to note each file that this run writes for the first time, and how long it was: those that it
            begins after its last checkpoint are in none.
        saved: the state to go on from; None for a new run.
    """

    def __init__(
        self, home: Path, begun: Path, saved: Optional[Mapping[str, Any]], tell: Callable[[str], None]
    ) -> None:
        self._home = home.resolve()
        self._begun_file = begun
        self._tell = tell
        self._stands_there = saved is None
        self._of_start: set[str] = set()
        """What the program opens before it trains, as it will in each process."""
        self._trains = False
        entries = (saved or {}).get("entries", {})
        self._waiting: dict[str, dict[str, Any]] = {} if self.differences(saved or {}) else dict(entries)
        """What the checkpoint tells of files that were not opened again yet."""
        self._written: dict[str, Written] = {}
        self._copies: dict[str, Path] = {}
        self._folder: Optional[tempfile.TemporaryDirectory[str]] = None
        self._process = os.getpid()
        self._reopened: set[str] = set()
        """Those that the program is to hold open, and had not opened itself in this process."""
        self._begun: dict[str, tuple[int, int]] = {}
        """By name, on which disk and where each was when this run first wrote to it."""
        self._lines = (saved or {}).get("begun", 0)
        if saved is None:
            begun.unlink(missing_ok=True)
        else:
            self._take_back_begun()

    def take(self) -> None:
        """Have `open` come here first, also that of `io`, which `pathlib` uses."""
        builtins.open = io.open = self._open
        OPENER[0] = self

    def _open(self, file: Any, mode: Any = "r", *args: Any, **options: Any) -> Any:
        path = self._path(file, mode, options)
        if path is None:
            return plain_open(file, mode, *args, **options)
        name = os.path.relpath(path, self._home)
        writes = not _WRITES.isdisjoint(mode)
        if not self._stands_there and name in self._waiting and (writes or name in self._copies):
            options.pop("opener", None)  # That of an older `pathlib`, which would open the file itself.
            handle = plain_open(self._copy(name, path, mode), mode, *args, **options)
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

    def reopen(self, opened: Opened) -> Any:
        """A file that the program held open at the checkpoint, and has not opened in this process.

        Raises Problem if it is not the very file that this run wrote.
        """
        path = self._require_begun(opened.name)
        try:  # Not emptied, as `w` would.
            handle = plain_open(path, opened.mode.replace("w", "a").replace("x", "a"), **opened.options)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise Problem(f"the program held {path} open to write to, which cannot be opened: {error}") from error
        self._reopened.add(opened.name)
        self._follow(handle, path, opened)
        return handle

    def move(self, handle: Any, opened: Opened) -> None:
        """As `reopen`, for a file that is open already, on another one."""
        path = self._require_begun(opened.name)
        self._reopened.add(opened.name)
        self._written[FOLLOWED[handle].name].closed(handle)
        self._follow(handle, path, opened)

    def _require_begun(self, name: str) -> Path:
        """Where that file is; what a record alone tells is not to lead a program to any file of a user's."""
        path = Path(os.path.normpath(self._home / name))
        is_the_one = name in self._begun and place_of(path) == self._begun[name]
        if not is_the_one and not (path.is_relative_to(self._home.parent) and begins_as(path, self._waiting.get(name))):
            raise Problem(
                f"the program held {path} open to write to, and what lies there is not the file that this run wrote: "
                "put that one back"
            )
        return path

    def _follow(self, handle: Any, path: Path, opened: Opened) -> None:
        FOLLOWED[handle] = opened
        self._written.setdefault(opened.name, Written(path)).opened(handle, "a" in opened.mode)

    def _path(self, file: Any, mode: Any, options: Mapping[str, Any]) -> Optional[Path]:
        """Which file of the program's it is; None for what is not to be followed."""
        if type(mode) is not str or not isinstance(file, (str, os.PathLike)) or os.getpid() != self._process:
            return None
        if _WRITES.isdisjoint(mode) and (self._stands_there or not self._copies):
            return None
        frame = sys._getframe(2)
        for _ in range(_MOST_FRAMES):
            module = str(frame.f_globals.get("__name__", ""))
            if is_users(module):
                break
            if module.partition(".")[0] not in _THROUGH or frame.f_back is None:
                return None
            frame = frame.f_back
        else:
            return None
        if options.get("opener") is not None and frame is sys._getframe(2):
            return None
        path = os.fspath(file)
        return Path(path).absolute() if isinstance(path, str) else None

    def _copy(self, name: str, path: Path, mode: str) -> Path:
        """What the program writes to instead; it begins as the file is now, unless it is to be emptied anyway."""
        if name not in self._copies:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="paddle-resume-")
            self._copies[name] = Path(self._folder.name) / str(len(self._copies))
            if {"w", "x"}.isdisjoint(mode) and path.is_file():
                shutil.copyfile(path, self._copies[name])
        return self._copies[name]

    def _open_real(self, name: str, path: Path, mode: str, open_it: Callable[[], Any]) -> Any:
        """Open one of the program's own files, which may hold what comes after the checkpoint."""
        entry, written = self._waiting.get(name), self._written.get(name)
        if entry is not None and "a" in mode:
            self._cut(path, entry)
        size = path.stat().st_size if path.exists() else ABSENT
        handle = open_it()
        self._waiting.pop(name, None)
        # One that is appended to already is known by its length in each checkpoint.
        if name not in self._begun or ("a" in mode and (written is None or not written.is_appended_to)):
            place = place_of(path)
            if place is not None:
                self._begun[name] = place
                if entry is None:
                    self._note_begun([name, size, *place])
        return handle

    def state_dict(self) -> dict[str, Any]:
        """What of the files the program has opened, and of those of the run before that wait for it."""
        self._trains = True
        kept = [name for name, each in self._written.items() if name in self._of_start or each.is_written_on]
        self._written = {name: self._written[name] for name in kept}
        written = {name: each.state() for name, each in self._written.items()}
        return {"begun": self._lines, "entries": {**self._waiting, **written}}

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """The program stands where it stood at the checkpoint: its files do too, and what it holds open writes on."""
        self._stands_there = self._trains = True
        self._waiting = dict(state.get("entries", {}))
        for name, written in self._written.items():
            entry = self._waiting.get(name)
            if entry is None or not (name in self._copies or name in self._reopened):
                continue
            handles = written.open_handles()
            if entry["size"] is None and name in self._copies and not written.path.exists():
                shutil.copyfile(self._copies[name], written.path)  # Somebody has removed it since.
            if entry["size"] is None or not (handles and entry["places"]):
                continue  # It waits until it is opened again.
            del self._waiting[name]
            is_cut = self._cut(written.path, entry)
            for handle, place in zip(handles, entry["places"]):
                put_to(handle, written.path, FOLLOWED[handle].mode, place if is_cut else None)
        self._written = {name: each for name, each in self._written.items() if name not in self._waiting}
        self._copies.clear()
        self._reopened.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

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

    def _note_begun(self, line: list[Any]) -> None:
        with suppress(OSError):  # A folder that cannot be written is told of by the checkpoints.
            file = open_in_place(self._begun_file, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, (json.dumps(line) + "\n").encode())
                self._lines += 1
            finally:
                os.close(file)

    def _take_back_begun(self) -> None:
        """Have the files that were begun, or first appended to, after the checkpoint be as they were before.

        A file is left alone unless it is the very one: of what a stranger has written there nothing is done.
        """
        with suppress(OSError, ValueError, TypeError, RecursionError):
            lines = read_regular(self._begun_file, _MOST_BEGUN).decode().splitlines()
            later: dict[str, tuple[int, tuple[int, int]]] = {}
            for number, line in enumerate(lines):
                name, size, device, inode = json.loads(line)
                if number < self._lines:
                    self._begun[str(name)] = (device, inode)
                else:
                    later.setdefault(str(name), (size, (device, inode)))
            for name, (size, place) in later.items():
                if name not in self._waiting or self._waiting[name]["size"] is None:
                    take_back(self._home / name, size, place)
            os.truncate(self._begun_file, sum(len(line.encode()) + 1 for line in lines[: self._lines]))
