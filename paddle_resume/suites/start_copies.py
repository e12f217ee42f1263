"""What a program does to its files before it stands where it was interrupted: it was done once, so copies take it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Optional


class StartCopies:
    """The copies, in a folder that goes with them. Names are those by which the run calls its files."""

    def __init__(self) -> None:
        self._copies: dict[str, Path] = {}
        self._emptied: list[Path] = []
        """Folders that the program has removed, and will make anew."""
        self._made = 0
        self._folder: Optional[tempfile.TemporaryDirectory[str]] = None

    def __contains__(self, name: str) -> bool:
        return name in self._copies

    def has(self, path: Path) -> bool:
        """Whether it is one of the copies."""
        return path in self._copies.values()

    def of(self, name: str, path: Path, *, empties: bool = False) -> Path:
        """What the program is to use instead; it begins as the file is now, unless it is to be emptied anyway."""
        if name not in self._copies:
            self._copies[name] = self._place()
            if not empties and path.is_file():
                shutil.copyfile(path, self._copies[name])
        return self._copies[name]

    def remove(self, name: str) -> None:
        """The program removes a file."""
        self._copies[name] = self._place()

    def remove_folder(self, folder: Path, names: Iterable[str]) -> None:
        """The program removes a folder, in which these files are."""
        self._emptied.append(folder)
        for name in names:
            self.remove(name)

    def makes_again(self, folder: Path) -> bool:
        """Whether it is a folder that the program has removed, or lies in one."""
        return any(folder.is_relative_to(emptied) for emptied in self._emptied)

    def move(self, name: str, new_name: str) -> None:
        """The program puts one of these files in the place of another one."""
        self._copies[new_name] = self._copies[name]
        self.remove(name)

    def put(self, name: str, path: Path) -> None:
        """Have what the copy holds be at `path`, if it holds anything."""
        if self._copies[name].is_file():
            shutil.copyfile(self._copies[name], path)

    def clear(self) -> None:
        """The program stands there."""
        if self._folder is not None:
            self._folder.cleanup()

    def _place(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="paddle-resume-")
        self._made += 1
        return Path(self._folder.name) / str(self._made)
