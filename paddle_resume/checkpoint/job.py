"""One save as a job that this process or the writer's can carry out: everything but the bytes, as JSON."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddle_resume._version import __version__
from paddle_resume.checkpoint import writer
from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.record import FORMAT, Record
from paddle_resume.checkpoint.snapshot import FileImage
from paddle_resume.errors import SaveError
from paddle_resume.storage.files import DISK, FileSystem, explain


@dataclass(frozen=True)
class SaveJob:
    """What to save, where, and what to keep; `header` and `owners` go into the record as they are."""

    folder: str
    name: str
    prefix: str
    header: dict[str, Any]
    owners: str
    files: dict[str, FileImage]
    keep: int
    keep_epochs: int | None

    @property
    def size(self) -> int:
        """How many bytes of the block the job needs."""
        return max((image.start + image.size for image in self.files.values()), default=1)

    def to_json(self) -> bytes:
        # Not asdict: its copy of every tensor's entry would take longer than all else in a small save.
        return json.dumps(
            {**vars(self), "files": {suffix: vars(image) for suffix, image in self.files.items()}}
        ).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> SaveJob:
        content = json.loads(raw)
        content["files"] = {suffix: FileImage(**image) for suffix, image in content["files"].items()}
        return cls(**content)


def execute(job: SaveJob, block: memoryview, disk: FileSystem = DISK) -> Path:
    """Commit the job's checkpoint from the bytes in `block`, then remove what retention no longer wants.

    On return the checkpoint is durable. Raises SaveError, with every older checkpoint as it was.
    """
    folder = Path(job.folder)
    prefix = folder / job.prefix
    try:
        sequence = _next_sequence(folder, job.name)
    except OSError as error:
        raise explain(error, prefix, job.size) from error
    record = Record(
        format=FORMAT,
        package=__version__,
        name=job.prefix,
        sequence=sequence,
        saved_at=now(),
        files={suffix: image.entry(block) for suffix, image in job.files.items()},
        owners=json.loads(job.owners),
        **job.header,
    )
    contents = {s: block[image.start : image.start + image.size] for s, image in job.files.items()}
    writer.commit(prefix, record, contents, disk)
    _prune(job, prefix, disk)
    return prefix


def now() -> str:
    """The time, as records tell it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


# More saves than a run makes: room for the number of a record that cannot be read now, and perhaps can be later.
_UNKNOWN = 1 << 20


def _next_sequence(folder: Path, name: str) -> int:
    """One more than any checkpoint of the run has: the last written is the newest, also after going back in time."""
    found = find_all(folder, name)
    known = max((one.record.sequence for one in found if one.record), default=-1) + 1
    return known if all(one.record for one in found) else known + _UNKNOWN


def _prune(job: SaveJob, newest: Path, disk: FileSystem) -> None:
    """Remove what retention no longer wants; never the checkpoint that was just committed."""
    prefix = newest
    try:
        # Without a record nothing is known of a checkpoint: it neither counts nor goes.
        whole = [found for found in find_all(Path(job.folder), job.name) if found.record]
        steps = [found.prefix for found in whole if not found.is_epoch]
        epochs = [found.prefix for found in whole if found.is_epoch]
        for prefix in steps[job.keep :] + (epochs[job.keep_epochs :] if job.keep_epochs else []):
            if prefix != newest:
                writer.remove(prefix, disk)
    except OSError as error:
        what = "look for old checkpoints after saving" if prefix == newest else "remove the old checkpoint"
        raise SaveError(f"Could not {what} {prefix}: {error.strerror}.") from error
