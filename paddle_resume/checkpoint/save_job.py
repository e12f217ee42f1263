"""One save as a job that this process or the writer's can carry out: everything but the bytes, as JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from paddle_resume._version import __version__
from paddle_resume.checkpoint import commit
from paddle_resume.checkpoint.catalog import Found, find_all, is_epoch
from paddle_resume.checkpoint.digested_file import SealedFile
from paddle_resume.checkpoint.record import FORMAT, FileEntry, Record
from paddle_resume.checkpoint.shard_folder import OWNER, sweep
from paddle_resume.checkpoint.snapshot import contents
from paddle_resume.errors import SaveError
from paddle_resume.storage.durable_files import DISK, FileSystem, explain
from paddle_resume.storage.framing import FramedFile


@dataclass(frozen=True)
class SaveJob:
    """What to save, where, and what to keep; `header` and `owners` (JSON) go into the record as they are.

    `files` is the text of their layout in the block.
    """

    folder: str
    name: str
    prefix: str
    header: dict[str, Any]
    owners: str
    files: str
    keep: int
    keep_epochs: int | None
    protect: str | None = None
    logs: list[str] = field(default_factory=list)
    """Files that the checkpoint tells of; they are made durable first."""

    def to_lines(self) -> bytes:
        """The two long texts as they are, for to have them written again would take most of a small save."""
        rest = {name: value for name, value in vars(self).items() if name not in _TEXTS}
        return "\n".join((json.dumps(rest), *(getattr(self, name) for name in _TEXTS))).encode()

    @classmethod
    def from_lines(cls, raw: bytes) -> SaveJob:
        rest, *texts = raw.decode().split("\n")
        return cls(**{**json.loads(rest), **dict(zip(_TEXTS, texts))})


_TEXTS = ("owners", "files")


def execute(
    job: SaveJob, block: memoryview, disk: FileSystem = DISK, durable: Callable[[Path], None] = lambda prefix: None
) -> Path:
    """Commit the job's checkpoint from the bytes in `block`, then remove what retention no longer wants.

    `durable` is called between the two. Raises SaveError, with every older checkpoint as it was.
    """
    folder = Path(job.folder)
    prefix = folder / job.prefix
    content_of = contents(json.loads(job.files), block)
    files = {suffix: SealedFile(FramedFile(content)) for suffix, content in content_of.items()}
    make_durable(map(Path, job.logs), disk)
    try:
        found = find_all(folder, job.name)
    except OSError as error:
        raise explain(error, prefix, sum(file.size for file in files.values())) from error
    sequence = _next_sequence(found)

    def record_of(entries: dict[str, FileEntry]) -> Record:
        return Record(
            format=FORMAT,
            package=__version__,
            name=job.prefix,
            sequence=sequence,
            saved_at=now(),
            files=entries,
            owners=json.loads(job.owners),
            **job.header,
        )

    commit.commit(prefix, files, record_of, disk)
    durable(prefix)
    _prune(job, [one for one in found if one.prefix != prefix], is_epoch(prefix), disk)
    _sweep_shards(job, disk)
    return prefix


# The kernel forgets the pages of a failed fsync, so a second one would succeed over lost records.
_failed_logs: set[Path] = set()


def make_durable(logs: Iterable[Path], disk: FileSystem = DISK) -> None:
    """Have all that was written to these files outlive the machine; raises SaveError."""
    for path in logs:
        try:
            if path not in _failed_logs:
                disk.fsync_file(path)
        except FileNotFoundError:
            continue  # Deleted just now: the run writes it anew, whole.
        except OSError:
            _failed_logs.add(path)
        if path in _failed_logs:
            raise SaveError(
                f"{path}: the disk failed to keep the log. Check the disk, then run the same command again: it "
                "continues from the last checkpoint."
            )


def now() -> str:
    """The time, as records tell it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _sweep_shards(job: SaveJob, disk: FileSystem) -> None:
    """Remove the shards that no checkpoint of the run names any more, also those of saves that died."""
    # Looked for in the text first: reading all of it takes a while, and most runs have no shards.
    entry = json.loads(job.owners).get(OWNER) if f'"{OWNER}": ' in job.owners else None
    if entry is not None:
        try:
            sweep(Path(job.folder), job.name, entry["folder"], disk)
        except OSError as error:
            raise SaveError(f"Could not remove old shards in {job.folder}: {error.strerror}.") from error


# More saves than a run makes: room for the number of a record that cannot be read now, and perhaps can be later.
_UNKNOWN = 1 << 20


def _next_sequence(found: list[Found]) -> int:
    """One more than any checkpoint of the run has: the last written is the newest, also after going back in time."""
    known = max((one.record.sequence for one in found if one.record), default=-1) + 1
    return known if all(one.record for one in found) else known + _UNKNOWN


def _prune(job: SaveJob, older: list[Found], new_is_epoch: bool, disk: FileSystem) -> None:
    """Remove what retention no longer wants of the older checkpoints, the newest of which come first."""
    # Without a record nothing is known of a checkpoint: it neither counts nor goes.
    whole = [found.prefix for found in older if found.record]
    steps = [prefix for prefix in whole if not is_epoch(prefix)][job.keep - (not new_is_epoch) :]
    epochs = [prefix for prefix in whole if is_epoch(prefix)]
    unwanted = epochs[job.keep_epochs - new_is_epoch :] if job.keep_epochs else []
    for prefix in (one for one in steps + unwanted if one.name != job.protect):
        try:
            commit.remove(prefix, disk)
        except OSError as error:
            raise SaveError(f"Could not remove the old checkpoint {prefix}: {error.strerror}.") from error
