"""What an argument of the toolbox names: a checkpoint of ours or files of others, their tensors read one at a time."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Optional, TypeVar

import numpy as np

from paddle_resume.checkpoint.catalog import find_all, named_prefix
from paddle_resume.checkpoint.foreign_files import foreign_weights, optimizer_entries
from paddle_resume.checkpoint.reader import Arrays, Source, check_file, load, read_record, sibling
from paddle_resume.checkpoint.record import SUFFIX, FileEntry, Record
from paddle_resume.checkpoint.resume_errors import offer
from paddle_resume.checkpoint.settled import settled
from paddle_resume.checkpoint.unreadable import Foreign, Missing, NoRecord, Removed, Unreadable, WrongSize
from paddle_resume.checkpoint.weights import NAME_TABLE, is_ours, named_arrays
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import temporary
from paddle_resume.storage.framing import digest
from paddle_resume.storage.regular_files import open_regular
from paddle_resume.storage.restricted_pickle import read_foreign
from paddle_resume.toolbox.byte_progress import Advance, unheard

Read = TypeVar("Read")
WEIGHTS, OPTIMIZER = ".pdparams", ".pdopt"


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor before its values are read; its digest is that of its bytes."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    digest: str

    @property
    def size(self) -> int:
        """Its bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class TensorFile(ABC):
    """One file of tensors: what they are, and each on request."""

    path: Path
    tensors: dict[str, TensorInfo]

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """The values of one tensor, verified; raises CheckpointError if they are damaged."""


class IndexedFile(TensorFile):
    """A file that a commit record indexes: nothing is read before it is asked for."""

    def __init__(self, path: Path, entry: FileEntry) -> None:
        self.path = path
        self._entries = {tensor.name: tensor for tensor in entry.tensors}
        self.tensors = {
            tensor.name: TensorInfo(tensor.name, np.dtype(tensor.dtype), tuple(tensor.shape), tensor.digest)
            for tensor in entry.tensors
        }

    def read(self, name: str) -> np.ndarray:
        tensor = self._entries[name]
        try:
            with open_regular(self.path, buffering=0) as file:
                raw, found = Source(file.fileno(), self.path).digested(tensor.offset, tensor.length)
        except OSError as error:
            raise CheckpointError(f"Could not read {self.path}: {error.strerror}.") from error
        except Unreadable as error:
            raise CheckpointError(f"{self.path} is damaged: {error.reason}. {_ADVICE}") from error
        if found != tensor.digest:
            raise CheckpointError(f"{self.path} is damaged: the digest of {name} does not match. {_ADVICE}")
        return raw.view(tensor.dtype).reshape(tensor.shape)


class ForeignFile(TensorFile):
    """A file that somebody else wrote, whose whole pickle the restricted reader had to go through."""

    def __init__(self, path: Path, arrays: Arrays) -> None:
        self.path = path
        self._arrays = arrays
        self.tensors = {
            name: TensorInfo(name, array.dtype, array.shape, digest(np.ascontiguousarray(array)))
            for name, array in arrays.items()
        }

    def read(self, name: str) -> np.ndarray:
        return self._arrays[name]


@dataclass(frozen=True)
class Located:
    """A checkpoint's record and where each file of it lies now."""

    record: Record
    paths: dict[str, Path]
    unpublished: bool
    """Whether a save died among its renames: all is there, and the next start completes it."""

    @property
    def size(self) -> int:
        """The bytes of all its files but the record."""
        return sum(entry.size for entry in self.record.files.values())


@dataclass(frozen=True)
class Opened:
    """A checkpoint, or files of weights and optimizer state without a record."""

    prefix: Path
    files: Mapping[str, TensorFile]
    record: Optional[Record] = None
    names: Mapping[str, str] = field(default_factory=dict)
    """Structured name -> the parameter's name in the optimizer's files; empty if that is not known."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.prefix) if self.record else ", ".join(str(file.path) for file in self.files.values())

    @property
    def size(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.size for file in self.files.values() for tensor in file.tensors.values())


_ADVICE = "`paddle-resume recover` says what of it can be saved."


def locate(prefix: Path, *, verify: bool = False, advance: Advance = unheard) -> Located:
    """The record of the checkpoint `prefix` and its files; raises Unreadable if it is not whole, Removed if it went.

    Without `verify`, files count as whole if they have the right size. Only of a save that died among its renames
    every digest is always matched, since nothing else tells which of two copies counts.
    """
    try:
        return settled([prefix], lambda: _locate(prefix, verify, advance))
    except NoRecord as error:
        if has_record(prefix):
            raise
        raise Removed from error  # It was found there: whoever calls this has seen its record.


def _locate(prefix: Path, verify: bool, advance: Advance) -> Located:
    final = sibling(prefix, SUFFIX)
    if verify or temporary(final).exists():
        loaded = load(prefix, partial(check_file, advance=advance))
        moving = set(loaded.unpublished)
        paths = {suffix: sibling(prefix, suffix) for suffix in loaded.record.files}
        paths = {suffix: temporary(path) if path in moving else path for suffix, path in paths.items()}
        return Located(loaded.record, paths, bool(moving))
    record = read_record(final, prefix)
    for suffix, entry in record.files.items():
        path = sibling(prefix, suffix)
        if path.is_symlink() or not path.is_file():
            raise Missing(path.name) if not path.exists() else Foreign(f"{path.name} is no regular file")
        if path.stat().st_size != entry.size:
            raise WrongSize(f"{path.name} has {path.stat().st_size} bytes and should have {entry.size}")
    return Located(record, {suffix: sibling(prefix, suffix) for suffix in record.files}, False)


def has_record(prefix: Path) -> bool:
    """Whether a commit record of ours lies there, sound or not, published or not."""
    return is_ours(sibling(prefix, SUFFIX)) or temporary(sibling(prefix, SUFFIX)).exists()


def open_checkpoint(text: str) -> Opened:
    """What `text` names: a checkpoint's prefix, one of its files, or a file of weights.

    Raises CheckpointError if nothing is there, it is a folder, or it is not whole.
    """
    prefix = named_prefix(text)
    if Path(text).is_dir():
        known = [str(found.prefix) for found in find_all(Path(text)) if found.record]
        raise CheckpointError(f"{text} is a folder; name one checkpoint by its prefix. {offer(known)}")
    if has_record(prefix):
        try:
            located = locate(prefix)
        except Unreadable as error:
            raise CheckpointError(f"Checkpoint {prefix} is not whole: {error.reason}. {_ADVICE}") from error
        return opened_at(prefix, located)
    return _open_foreign(prefix, Path(text))


def opened_at(prefix: Path, located: Located) -> Opened:
    """The checkpoint whose record and files were found there."""
    files = {suffix: IndexedFile(located.paths[suffix], entry) for suffix, entry in located.record.files.items()}
    return Opened(prefix, files, located.record, names_of(located.record))


def read_steadily(texts: Sequence[str], look: Callable[[list[Opened]], Read]) -> Read:
    """What `look` gives of the checkpoints that `texts` name, though a training may save one of them anew meanwhile.

    Raises CheckpointError as `open_checkpoint` does, and if one of them is removed meanwhile.
    """
    try:
        return settled([*map(named_prefix, texts)], lambda: look([*map(open_checkpoint, texts)]))
    except Unreadable as error:
        gone = "was removed while it was read" if isinstance(error, Removed) else f"is not whole: {error.reason}"
        raise CheckpointError(f"{', '.join(texts)} {gone}. `paddle-resume list` tells which are there now.") from error


def names_of(record: Record) -> dict[str, str]:
    """The table structured name -> parameter name of a record; empty for a run without one."""
    table = record.owners.get("names")
    return dict(table) if isinstance(table, dict) else {}


def file_of(opened: Opened, suffix: str) -> TensorFile:
    """The file with this suffix; raises CheckpointError if there is none."""
    if suffix not in opened.files:
        raise CheckpointError(
            f"{opened.label} has no {suffix} file; it has {', '.join(opened.files) or 'no files'}. Name a checkpoint "
            "that has one."
        )
    return opened.files[suffix]


def read_all(file: TensorFile) -> Arrays:
    """Every tensor of a file by name."""
    return {name: file.read(name) for name in file.tensors}


def framed(arrays: Arrays, names: Mapping[str, str]) -> dict[str, object]:
    """The content of a `.pdparams` with these weights, and Paddle's table of names for those of them it knows."""
    table = {name: parameter for name, parameter in names.items() if name in arrays}
    return {**arrays, **({NAME_TABLE: table} if table else {})}


def _open_foreign(prefix: Path, named: Path) -> Opened:
    files: dict[str, TensorFile] = {}
    names: dict[str, str] = {}
    weights, optimizer = sibling(prefix, WEIGHTS), sibling(prefix, OPTIMIZER)
    if named.is_file() and named not in (weights, optimizer):
        # Whatever it is called: a `.pdema` without its record, a file without a suffix.
        return Opened(prefix, {WEIGHTS: ForeignFile(named, named_arrays(named, read_foreign(named)))})
    if weights.is_file():
        arrays, table = foreign_weights(prefix)
        files[WEIGHTS], names = ForeignFile(weights, arrays), table or {}
    if optimizer.is_file():
        entries = {k: v for k, v in optimizer_entries(optimizer).items() if isinstance(v, np.ndarray)}
        files[OPTIMIZER] = ForeignFile(optimizer, entries)
    if not files:
        known = [str(found.prefix) for found in find_all(prefix.parent) if found.record]
        raise CheckpointError(f"There is no checkpoint {prefix}, and no {prefix.name}{WEIGHTS}. {offer(known)}")
    return Opened(prefix, files, None, names)


def folder_at(text: str) -> Path:
    """The folder that `text` names; raises CheckpointError if there is none, or it cannot be read."""
    folder = Path(text)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise CheckpointError(f"{text} {what}; give the folder of a run's checkpoints (run.save_dir), as checkpoint.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise CheckpointError(f"The folder {text} could not be read: you may not look into it.")
    return folder
