"""The folder of one run's checkpoints: who may write there, what is in it, and what dead processes left behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from paddle_resume.checkpoint import commit
from paddle_resume.checkpoint.catalog import BEST, Found, find_all, unfinished, without_record
from paddle_resume.checkpoint.choose import choose, list_checkpoints
from paddle_resume.checkpoint.reader import Loaded, sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.resume_errors import of_another_program, of_earlier_run
from paddle_resume.run_name import require_run_name
from paddle_resume.storage.durable_files import explain
from paddle_resume.storage.lock import RunLock


class RunFolder:
    """The checkpoints `<path>/<name>_<tag>`, as their only writer sees them."""

    def __init__(self, path: Path, name: str) -> None:
        require_run_name(name)
        self._path = path
        self._name = name
        self._lock = RunLock(path, name)

    def prefix(self, tag: str) -> Path:
        """The prefix of the checkpoint called `tag`."""
        return self._path / f"{self._name}_{tag}"

    def take(self, start_writing: Callable[[], None]) -> None:
        """Become the only writer, and tidy up; raises CheckpointError if a living process is, SaveError if none can."""
        try:
            if self._lock.held:
                self._lock.renew()
                return
            self._lock.acquire()
            for prefix in unfinished(self._path, self._name, "removed"):
                commit.remove(prefix)
            for prefix in unfinished(self._path, self._name, "tmp"):
                commit.recover(prefix)
            start_writing()
        except OSError as error:
            self._lock.release()  # So that another attempt tidies up as well.
            raise explain(error, self._path, 0) from error

    def release(self) -> None:
        """Let others write here."""
        self._lock.release()

    def found(self) -> list[Found]:
        """The checkpoints, the last written first."""
        return list_checkpoints(self._path, self._name)

    def newest(self) -> Path | None:
        """The prefix of the newest of them; None for none, also where the folder cannot be read now."""
        with suppress(OSError):
            return next((found.prefix for found in find_all(self._path, self._name) if found.record), None)
        return None

    def choose(self, resume: str, reading: Callable[[Path], None]) -> tuple[Loaded | None, list[str]]:
        """As `choose`; raises CheckpointError also where a fresh start would write over what another program saved."""
        loaded, passed_over = choose(resume, self._path, self._name, reading)
        theirs = without_record(self._path, self._name) if loaded is None else []
        if theirs:
            raise of_another_program(theirs)
        return loaded, passed_over

    def clear(self, overwrite: bool) -> int:
        """Remove all checkpoints and return how many; raises CheckpointError if there are any, without `overwrite`."""
        found = self.found()
        if found and not overwrite:
            raise of_earlier_run([checkpoint.prefix for checkpoint in found])
        prefixes = [checkpoint.prefix for checkpoint in found]
        if sibling(self.prefix(BEST), SUFFIX).exists():
            prefixes.append(self.prefix(BEST))
        for prefix in prefixes:
            commit.remove(prefix)
        return len(prefixes)
