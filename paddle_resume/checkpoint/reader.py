"""Verify first, use second: the bytes of a checkpoint, read straight from their offsets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from paddle_resume.checkpoint.record import SUFFIX, FileEntry, Record, read
from paddle_resume.checkpoint.shard_folder import ShardFolder
from paddle_resume.checkpoint.unreadable import Damaged, Foreign, Missing, NoRecord, Unreadable, WrongSize
from paddle_resume.storage.durable_files import temporary
from paddle_resume.storage.framing import digest
from paddle_resume.storage.regular_files import open_regular

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint: its record, and every tensor by file suffix and name in memory of its own."""

    prefix: Path
    record: Record
    tensors: dict[str, Arrays]
    unpublished: tuple[Path, ...]
    """Files (by final path) that a dying process had made durable but not yet renamed, record last."""


def sibling(prefix: Path, suffix: str) -> Path:
    """The file of the checkpoint `prefix` with this suffix."""
    return prefix.with_name(prefix.name + suffix)


def peek(prefix: Path) -> Record:
    """The newest sound record under `prefix`, without a look at its files; raises Unreadable."""
    problem: Unreadable = NoRecord()
    for path in (temporary(sibling(prefix, SUFFIX)), sibling(prefix, SUFFIX)):
        try:
            return read_record(path, prefix)
        except Unreadable as error:
            problem = error
    raise problem


def load(prefix: Path, read_one: Callable[[Path, FileEntry], Arrays] | None = None) -> Loaded:
    """The newest whole checkpoint under `prefix`, every digest matched; raises Unreadable.

    `read_one` reads one file in place of `read_file`; `check_file` matches every digest and keeps nothing.
    A save writes all its files, then the record, under temporary names and makes them durable before it
    renames the first of them. So a temporary record that is sound, and whose every file is there under one name
    or the other, is a commit that only lacks its renames; otherwise the published record counts.
    """
    final = sibling(prefix, SUFFIX)
    problem: Unreadable = NoRecord()
    for record_path in (temporary(final), final):
        try:
            record = read_record(record_path, prefix)
            tensors: dict[str, Arrays] = {}
            unpublished: list[Path] = []
            for suffix, entry in record.files.items():
                path, tensors[suffix] = _read_either(sibling(prefix, suffix), entry, read_one or read_file)
                if path != sibling(prefix, suffix):
                    unpublished.append(sibling(prefix, suffix))
            shards = ShardFolder.of(record)
            if shards is not None:
                shards.verify(prefix.parent)
            if record_path != final:
                unpublished.append(final)
            return Loaded(prefix, record, tensors, tuple(unpublished))
        except Unreadable as error:
            problem = error
    raise problem


def read_file(path: Path, entry: FileEntry) -> Arrays:
    """The tensors of one file by name, each in memory of its own; raises Unreadable at the first mismatch."""
    return dict(_each_tensor(path, entry))


def check_file(path: Path, entry: FileEntry, advance: Callable[[int], Any] = lambda count: None) -> Arrays:
    """Match every digest of one file, one tensor in memory at a time, and give none; raises Unreadable.

    `advance` is told the bytes that were read.
    """
    for _, array in _each_tensor(path, entry):
        advance(array.nbytes)
    return {}


def _each_tensor(path: Path, entry: FileEntry) -> Iterator[tuple[str, np.ndarray]]:
    framing = bytearray()
    position = 0
    try:
        if path.is_symlink() or not path.is_file():
            raise Missing(path.name) if not path.exists() else Foreign(f"{path.name} is no regular file")
        size = path.stat().st_size
        if size != entry.size:
            raise WrongSize(f"{path.name} has {size} bytes and should have {entry.size}")
        with open_regular(path, buffering=0) as file:
            source = Source(file.fileno(), path)
            for tensor in entry.tensors:
                framing += source.read(position, tensor.offset - position).tobytes()
                raw, found = source.digested(tensor.offset, tensor.length)
                if found != tensor.digest:
                    raise Damaged(f"{path.name}: the digest of {tensor.name} does not match, so it is damaged")
                yield tensor.name, raw.view(tensor.dtype).reshape(tensor.shape)
                position = tensor.offset + tensor.length
            framing += source.read(position, entry.size - position).tobytes()
    except OSError as error:
        raise Unreadable(f"{path.name} could not be read: {error.strerror}") from error
    if digest(framing) != entry.framing:
        raise Damaged(f"{path.name}: the digest of its framing does not match, so it is damaged")


def read_record(path: Path, prefix: Path) -> Record:
    """The record at `path`, which has to be that of the checkpoint `prefix`; raises Unreadable."""
    record = read(path)
    if record.name != prefix.name:
        raise Foreign(f"it is the record of {record.name!r}, moved or renamed")
    return record


def _read_either(final: Path, entry: FileEntry, read_one: Callable[[Path, FileEntry], Arrays]) -> tuple[Path, Arrays]:
    if temporary(final).exists():
        try:
            return temporary(final), read_one(temporary(final), entry)
        except Unreadable:
            pass  # A leftover of another save: the published file decides.
    return final, read_one(final, entry)


class Source:
    """An open file, read at offsets: what is large at once, what is small from a window of the file."""

    _WINDOW = 1 << 14
    _PIECE = 1 << 20

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._start = 0
        self._window = b""

    def read(self, offset: int, length: int) -> np.ndarray:
        """`length` bytes at `offset`, in fresh memory; raises Unreadable where the file ends before."""
        if length >= self._WINDOW:
            return self.digested(offset, length)[0]
        if not self._start <= offset <= offset + length <= self._start + len(self._window):
            self._start, self._window = offset, os.pread(self._fd, self._WINDOW, offset)
        if offset + length > self._start + len(self._window):
            raise self._cut_short(self._start + len(self._window))
        begin = offset - self._start
        return np.frombuffer(self._window[begin : begin + length], np.uint8).copy()

    def digested(self, offset: int, length: int) -> tuple[np.ndarray, str]:
        """`length` bytes at `offset`, in fresh memory, and their digest, taken while they are in the cache."""
        if length < self._WINDOW:
            content = self.read(offset, length)
            return content, digest(content)
        content, hasher = np.empty(length, np.uint8), xxhash.xxh3_128()
        for start in range(0, length, self._PIECE):
            piece = content.data[start : start + self._PIECE]
            self._fill(piece, offset + start)
            hasher.update(piece)
        return content, hasher.hexdigest()

    def _fill(self, target: memoryview, offset: int) -> None:
        while target:
            count = os.preadv(self._fd, [target], offset)
            if count == 0:
                raise self._cut_short(offset)
            target, offset = target[count:], offset + count

    def _cut_short(self, end: int) -> Unreadable:
        return Unreadable(f"{self._path.name} ends at byte {end}, before what its record lists")
