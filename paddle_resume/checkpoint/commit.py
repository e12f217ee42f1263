"""The commit protocol: files, then the record, made durable under temporary names, then published by rename."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Callable

from paddle_resume.checkpoint.digested_file import SealedFile
from paddle_resume.checkpoint.reader import load, read_file, sibling
from paddle_resume.checkpoint.record import SUFFIX, FileEntry, Record, encode, read
from paddle_resume.checkpoint.shard_folder import remove_shards
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.storage.durable_files import DISK, FileSystem, explain, make_folder, temporary, write_durably


def commit(
    prefix: Path,
    files: Mapping[str, SealedFile],
    record_of: Callable[[dict[str, FileEntry]], Record],
    disk: FileSystem = DISK,
) -> None:
    """Make the checkpoint `prefix` durable; on return it is, on SaveError the older ones are as they were.

    `record_of` gives the record once the entries of the files are known: they are digested while they are written.

    Invariant: at every instant the old or the new checkpoint under `prefix` is whole on disk. All that is new
    lies complete and durable under temporary names before the first rename, so a commit that dies among its
    renames is one that `reader.load` reads and `recover` completes. Files that are already there with the
    same content are left alone.
    """
    path, size = prefix, sum(file.size for file in files.values())
    pending: list[Path] = []
    try:
        make_folder(prefix.parent, disk)
        recover(prefix, disk)
        published = _published(prefix)
        changed = {suffix: file for suffix, file in files.items() if not _holds(prefix, suffix, file, published)}
        size = sum(file.size for file in changed.values())
        disk.require_space(prefix.parent, size)
        for suffix, file in changed.items():
            path, size = sibling(prefix, suffix), file.size
            pending.append(path)
            write_durably(path, file.pieces(), size, disk)
        raw = encode(record_of({suffix: file.entry() for suffix, file in files.items()}))
        path, size = sibling(prefix, SUFFIX), len(raw)
        pending.append(path)
        write_durably(path, [memoryview(raw)], size, disk)
        disk.fsync_folder(prefix.parent)
        _publish(pending, disk)
    except OSError as error:
        # Once a rename is done, the rest of the commit has to stay: the next start completes it.
        if all(temporary(p).exists() for p in pending[:1]):
            _discard(pending, disk)
        raise explain(error, path, size) from error


def recover(prefix: Path, disk: FileSystem = DISK) -> None:
    """Complete a commit that died among its renames, or remove what one that died earlier left behind."""
    pattern = f".{glob.escape(prefix.name)}.*.tmp"
    if not any(prefix.parent.glob(pattern)):
        return
    for _ in range(2):  # A read can fail for a moment, and nothing is removed on the word of one.
        with contextlib.suppress(Unreadable):
            unpublished = list(load(prefix).unpublished)
            if unpublished:  # Also where only the record is published: renames may reach the disk in any order.
                # The dead process may not have synced what it wrote; what is replaced may be all that is durable.
                for path in unpublished:
                    disk.fsync_file(temporary(path))
                disk.fsync_folder(prefix.parent)
                _publish(unpublished, disk)
            break
    for leftover in list(prefix.parent.glob(pattern)):
        disk.unlink(leftover)


def remove(prefix: Path, disk: FileSystem = DISK) -> None:
    """Delete a checkpoint: its record first, since a checkpoint exists if and only if its record does.

    The record is set aside under a hidden name until its files are gone, so that a start after a crash can
    tell them from files that somebody else put there.
    """
    aside = _aside(prefix)
    with contextlib.suppress(FileNotFoundError):
        disk.rename(sibling(prefix, SUFFIX), aside)
    with contextlib.suppress(Unreadable):
        record = read(aside)
        for suffix in record.files:
            disk.unlink(sibling(prefix, suffix))
        remove_shards(prefix.parent, record, disk)
    disk.unlink(aside)
    disk.fsync_folder(prefix.parent)


def _aside(prefix: Path) -> Path:
    return prefix.with_name(f".{prefix.name}{SUFFIX}.removed")


def _publish(paths: list[Path], disk: FileSystem) -> None:
    for path in paths:
        disk.rename(temporary(path), path)
    disk.fsync_folder(paths[0].parent)


def _discard(pending: list[Path], disk: FileSystem) -> None:
    """Remove a failed save's temporaries; record first, so that nothing vouches for the others."""
    for path in reversed(pending):
        # The failure that brought us here is the one to report; the next start cleans up the rest.
        with contextlib.suppress(OSError):
            disk.unlink(temporary(path))


def _published(prefix: Path) -> dict[str, FileEntry]:
    try:
        return read(sibling(prefix, SUFFIX)).files
    except Unreadable:
        return {}


def _holds(prefix: Path, suffix: str, file: SealedFile, published: Mapping[str, FileEntry]) -> bool:
    """Whether the published file already holds exactly the content to be written."""
    there = published.get(suffix)
    if there is None or there.size != file.size or there != file.entry():
        return False
    with contextlib.suppress(Unreadable):
        read_file(sibling(prefix, suffix), there)
        return True
    return False
