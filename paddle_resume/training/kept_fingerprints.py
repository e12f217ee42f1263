"""Keeps the fingerprints of the steps since the last durable checkpoint, and no others, on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from paddle_resume.checkpoint.catalog import run_of
from paddle_resume.parallel.world import World
from paddle_resume.storage.durable_files import temporary
from paddle_resume.storage.fingerprint_file import Fingerprint, FingerprintFile

# Of a run that seldom saves: enough to tell, and a file of five megabytes at most.
_MOST = 100_000


class _Place(NamedTuple):
    """Where in the run a checkpoint stands."""

    step: int
    course: int


class KeptFingerprints:
    """The fingerprints of one process of a run, in a file `.<name>.steps` beside its checkpoints.

    No training stops for them: what cannot be read or written is told of once, and left.

    Args:
        folder, name: of the run's checkpoints.
        back: how many steps before the newest checkpoint are kept as well.
        tell: says what a person should know.
    """

    def __init__(self, folder: Path, name: str, world: World, back: int, tell: Callable[[str], None]) -> None:
        self._file = FingerprintFile(folder / f".{name}.steps{f'.{world.rank}' if world.rank else ''}")
        self._world = world
        self._back = back
        self._tell = tell
        self.wanted = False
        """Whether there is a checkpoint to go back to, or a save under way: before that no step is made again."""
        self._count = 0
        self._saving: Optional[tuple[Path, _Place]] = None
        self._durable: list[_Place] = []
        self._told = False

    def begin(self, step: int, course: int) -> list[Fingerprint]:
        """The run goes on from a checkpoint of so many steps; gives what is known of the steps after it."""
        self.wanted = True
        self._saving = None
        self._durable = [_Place(step, course)]
        found: list[Fingerprint] = []
        with self._errors():
            found, broken = self._file.read()
            if broken:
                self._tell(
                    f"{self._file.path} tells how earlier steps came out, to compare those that are made again. "
                    f"{broken} of its {broken + len(found)} entries cannot be read, and are left out."
                )
        self._count = len(found)
        return [one for one in found if one.course == course and one.step >= step]

    def keep(self, fingerprints: Sequence[Fingerprint]) -> None:
        """Have these outlive the process."""
        if self.wanted and fingerprints and self._count < _MOST:
            try:  # Shorter than `_errors`, for it is gone through at each step.
                self._file.append(fingerprints)
                self._count += len(fingerprints)
            except OSError as error:
                self._tell_once(error)

    def saving(self, prefix: Path, step: int, course: int) -> None:
        """A save has begun, and the one before has ended: what that one holds is no more to be kept."""
        self._cut(course)
        if run_of(prefix) is not None:  # Only from such a checkpoint does the same command go on.
            self._saving = (prefix, _Place(step, course))
            self.wanted = True

    def landed(self, prefix: Path) -> None:
        """That save has become durable."""
        if self._saving is not None and self._saving[0] == prefix:
            self._durable.append(self._saving[1])
            self._saving = None

    def stop(self, course: int) -> None:
        """The run ends here for now, and all its saves have ended."""
        self._cut(course)

    def close(self) -> None:
        """Let go of the file, however the run ended."""
        self._file.close()

    def forget(self) -> None:
        """Remove the fingerprints: rank 0 also those of processes that take part no more."""
        self.wanted, self._count = False, 0
        self._durable.clear()
        own = self._file.path
        with self._errors():
            self._file.close()
            own.unlink(missing_ok=True)
            temporary(own).unlink(missing_ok=True)
            if self._world.is_main and own.parent.is_dir():
                ranks = re.compile(rf"{re.escape(own.name)}\.\d+")
                for path in [path for path in own.parent.iterdir() if ranks.fullmatch(path.name)]:
                    path.unlink(missing_ok=True)

    def _cut(self, course: int) -> None:
        """Keep what comes after the newest durable checkpoint, or after one that is `back` steps older."""
        durable: list[_Place] = self._world.broadcast_object(self._durable)
        if not durable:
            return
        older = [place for place in durable if place.step <= durable[-1].step - self._back]
        start = older[-1] if older else durable[0]
        self._durable = durable[durable.index(start) :]
        courses = {course, *(place.course for place in self._durable)}
        with self._errors():
            found, broken = self._file.read()
            kept = [one for one in found if one.step >= start.step and one.course in courses]
            if broken or len(kept) < len(found):
                self._file.rewrite(kept)
            self._count = len(kept)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._tell_once(error)

    def _tell_once(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            self._tell(
                f"What earlier steps came out as could not be kept or read in {self._file.path}: "
                f"{error.strerror or error}. Training goes on; steps that are made again are compared as far as "
                "they are known."
            )
