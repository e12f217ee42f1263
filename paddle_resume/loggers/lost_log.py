"""What is done with a log that a run cannot go on with: nothing of it is thrown away."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

from paddle_resume.storage.durable_files import create_new, explain


def set_aside(path: Path) -> Path:
    """Rename the file that lies at `path` to a name that no server takes for a log; raises SaveError."""
    name = _plain(path)
    aside = next(to for n in itertools.count(1) if not (to := path.with_name(f"{name}.old{n}")).exists())
    try:
        path.rename(aside)
    except OSError as error:
        raise explain(error, path, 0, key="run.log_dir") from error
    return aside


def put_copy_in_place(path: Path, size: int) -> bool:
    """Put a copy of the first bytes in place of a file that may not be written; returns whether that worked."""
    new = path.with_name(f".{_plain(path)}.tmp")
    try:
        content = path.read_bytes()[:size]
        with os.fdopen(create_new(new), "wb") as file:
            file.write(content)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        return False
    return True


def _plain(path: Path) -> str:
    return path.name.replace("vdlrecords.", "")
