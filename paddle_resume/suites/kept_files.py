"""What files of a wrapped program held before it wrote them anew, each under a number, in a hidden folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Optional

from paddle_resume.storage.regular_files import open_regular
from paddle_resume.suites.written_file import place_of, plain_open

LARGEST_COPY = 64 << 20


class KeptFiles:
    """The folder; made when the first file is kept.

    Each is known by its disk and number there, which no folder that a stranger has sent can tell.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def link(self, path: Path, number: int) -> Optional[list[int]]:
        """Keep the file itself, to which nobody will write; gives where it lies, or None if it cannot be kept."""
        with suppress(OSError):
            os.link(path, self._place(number))
            return self._known_by(number)
        return self.copy(path, number)

    def copy(self, path: Path, number: int) -> Optional[list[int]]:
        """Keep what the file holds, if that is not too much."""
        with suppress(OSError):
            if path.stat().st_size <= LARGEST_COPY:
                shutil.copyfile(path, self._place(number))
                return self._known_by(number)
        return None

    def put_back(self, number: int, known_by: list[int], path: Path) -> None:
        """Have the file hold that again; nothing is done if what is kept is not that. Raises OSError."""
        if not known_by or self._known_by(number) != known_by:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        is_there = path.exists()
        with open_regular(self._folder / str(number)) as kept, plain_open(path, "r+b" if is_there else "xb") as file:
            shutil.copyfileobj(kept, file)
            file.truncate()

    def numbers(self) -> list[int]:
        """Those under which something is kept."""
        if self._folder.is_symlink() or not self._folder.is_dir():
            return []
        return [int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()]

    def let_go(self, numbers: Iterable[int]) -> None:
        """What is kept under these is of no more use."""
        for number in numbers:
            with suppress(OSError):
                (self._folder / str(number)).unlink(missing_ok=True)

    def clear(self) -> None:
        """Nothing is of use any more."""
        if not self._folder.is_symlink():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self, number: int) -> Path:
        self._folder.mkdir(exist_ok=True)
        return self._folder / str(number)

    def _known_by(self, number: int) -> Optional[list[int]]:
        kept = self._folder / str(number)
        place = None if kept.is_symlink() else place_of(kept)
        return None if place is None else list(place)
