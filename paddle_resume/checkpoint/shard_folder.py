"""The folder that a checkpoint's record names for the parts that each process has written: its entry and its upkeep.

A sharded save writes into a fresh folder `<name>.shards/<number>`, which does not count before a record names it, and
is removed only when none does any more.
"""

from __future__ import annotations

import contextlib
import glob
import re
from pathlib import Path
from typing import Any, Optional

import numpy as np
from pydantic import Field, ValidationError
from typing_extensions import Annotated

from paddle_resume.checkpoint.record import SUFFIX, Record, _Count, _Digest, _Strict, read
from paddle_resume.checkpoint.unreadable import Damaged, Unreadable, WrongSize
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.distcp import METADATA, MetadataUnpickler, StoredTensor, stored_tensors
from paddle_resume.storage.durable_files import DISK, FileSystem, size_and_digest
from paddle_resume.storage.framing import digest
from paddle_resume.storage.restricted_pickle import parse_foreign

OWNER = "shards"
"""The owner in whose state a record keeps the entry."""


class ShardFile(_Strict):
    """Size in bytes and xxh3_128 of one file."""

    size: _Count
    digest: _Digest


class ShardFolder(_Strict):
    """The files that all processes have written for one checkpoint."""

    folder: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.shards/[0-9]{1,9}$")
    files: dict[Annotated[str, Field(pattern=r"^[0-9]{1,6}(_0\.distcp|\.metadata)$")], ShardFile]

    @classmethod
    def of(cls, record: Record) -> Optional[ShardFolder]:
        """The entry in a record, or None if it has none; raises Unreadable."""
        state = record.owners.get(OWNER)
        return None if state is None else cls.of_state(state)

    @classmethod
    def of_state(cls, state: Any) -> ShardFolder:
        """The entry in the state of the owner; raises Unreadable."""
        try:
            return cls(folder=state["folder"], files=state["files"])
        except (ValidationError, KeyError, TypeError) as error:
            raise Damaged("its entry of the shards is inconsistent") from error

    def verify(self, beside: Path) -> None:
        """Check sizes and digests of all files, in the folder of the checkpoints `beside`; raises Unreadable."""
        for name, entry in self.files.items():
            path = beside / self.folder / name
            try:
                _require_regular(path)
                found = size_and_digest(path)
            except OSError as error:
                raise Unreadable(f"{self.folder}/{name} could not be read: {error.strerror}") from error
            _require_same(f"{self.folder}/{name}", entry, *found)

    def tensors(self, beside: Path) -> dict[str, StoredTensor]:
        """What is stored, by key; raises Unreadable, and CheckpointError for a file that asks for strange things."""
        try:
            stored = stored_tensors(self._parsed(beside, METADATA, MetadataUnpickler))
            unlisted = {p.file for t in stored.values() for p in t.shards} - set(self.files)
            if unlisted:
                raise ValueError(f"it names {', '.join(sorted(unlisted))}, which the record does not list")
            return stored
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise Damaged(f"{self.folder}/{METADATA} is inconsistent: {error}") from error

    def arrays(self, beside: Path, name: str) -> dict[str, np.ndarray]:
        """The arrays of one file by key; raises as `tensors` does."""
        content = self._parsed(beside, name)
        # Paddle also keeps its table of names in each file.
        found = {key: value for key, value in content.items() if isinstance(value, np.ndarray)}
        return {key: value.view(np.ndarray) for key, value in found.items()}

    def _parsed(self, beside: Path, name: str, *reader: Any) -> Any:
        path = beside / self.folder / name
        try:
            _require_regular(path)
            raw = path.read_bytes()
        except OSError as error:
            raise Unreadable(f"{self.folder}/{name} could not be read: {error.strerror}") from error
        # Of these very bytes: the file might have changed since it was verified.
        _require_same(f"{self.folder}/{name}", self.files[name], len(raw), digest(raw))
        content = parse_foreign(path, raw, *reader)
        if not reader and not isinstance(content, dict):
            raise CheckpointError(f"{path} holds a {type(content).__name__}, and no dict of arrays. Use another one.")
        return content


def next_folder(beside: Path, name: str) -> str:
    """The name of a folder that no save of run `name` has used, as far as can be seen; raises OSError."""
    return f"{name}.shards/{max(_numbers(beside, name), default=-1) + 1}"


def sweep(beside: Path, name: str, newest: str, disk: FileSystem = DISK) -> None:
    """Remove the folders of run `name` older than `newest` that no record names any more; raises OSError.

    While there is a record that cannot be read, nobody knows what it names, and nothing is removed.
    """
    records = [*beside.glob(f"{glob.escape(name)}_*{SUFFIX}"), *beside.glob(f".{glob.escape(name)}_*{SUFFIX}.tmp")]
    try:
        named = {found.folder for path in records if (found := ShardFolder.of(read(path)))}
    except Unreadable:
        return
    limit = int(newest.rpartition("/")[2])
    for number in _numbers(beside, name):
        if number < limit and f"{name}.shards/{number}" not in named:
            _remove(beside / f"{name}.shards" / str(number), disk)


def remove_shards(beside: Path, record: Record, disk: FileSystem = DISK) -> None:
    """Remove the folder that `record`, of a checkpoint that is being removed, names; raises OSError."""
    with contextlib.suppress(Unreadable):  # Nobody knows what it names then.
        shards = ShardFolder.of(record)
        if shards is not None and (beside / shards.folder).is_dir():
            _remove(beside / shards.folder, disk)


def _remove(folder: Path, disk: FileSystem) -> None:
    for path in list(folder.iterdir()):
        disk.unlink(path)
    folder.rmdir()
    disk.fsync_folder(folder.parent)


def _numbers(beside: Path, name: str) -> list[int]:
    return [int(p.name) for p in (beside / f"{name}.shards").glob("*") if re.fullmatch(r"[0-9]{1,9}", p.name)]


def _require_regular(path: Path) -> None:
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        what = "is no regular file" if path.exists() or path.is_symlink() else "is missing"
        raise Unreadable(f"{path.parent.name}/{path.name} {what}")


def _require_same(shown: str, entry: ShardFile, size: int, found: str) -> None:
    if size != entry.size:
        raise WrongSize(f"{shown} has {size} bytes and should have {entry.size}")
    if found != entry.digest:
        raise Damaged(f"{shown}: its digest does not match, so it is damaged")
