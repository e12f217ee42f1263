"""Checkpoints in shared memory, which outlive the process: so that a kill costs few steps, whatever lies on disk."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from paddle_resume._version import __version__
from paddle_resume.checkpoint.digested_file import SealedFile
from paddle_resume.checkpoint.memory_place import (
    SHARED_MEMORY,
    SLOTS,
    Place,
    find_place,
    forget_place,
    make_place,
    remove_leftovers,
)
from paddle_resume.checkpoint.memory_slot import Content, Slot
from paddle_resume.checkpoint.reader import Arrays, Loaded, sibling
from paddle_resume.checkpoint.record import FORMAT, MAX_BYTES, SUFFIX, Record, decode_state
from paddle_resume.checkpoint.save_job import now
from paddle_resume.checkpoint.snapshot import Files, Layout, Plan, contents
from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.durable_files import format_bytes
from paddle_resume.storage.framing import FramedFile

_SHARE = 4  # two saves take at most this part of what is free
_MEMORY, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Identity(NamedTuple):
    """What tells one save in memory from any other of its run; of two, the later one is the greater."""

    sequence: int
    step: int
    life: str
    """Of the processes that made it."""


class Kept(NamedTuple):
    """A whole save in memory that counts."""

    identity: Identity
    record: Record
    files: Mapping[str, FramedFile]


class MemoryTier:
    """The saves in memory of the run `name` in `save_dir`: two slots, of which the newer whole one counts.

    A save in memory continues the durable checkpoint that was the newest when it was made. It counts only as long as
    that is still the newest one, in the same folder, since the machine was started: what a person takes away, moves or
    puts in its place is never brought back from memory.
    """

    def __init__(self, save_dir: Path, name: str) -> None:
        self._save_dir = save_dir
        self._name = name
        self._place: Optional[Place] = None
        self._slots: list[Slot] = []
        self._sequence = 0
        self._after: Optional[list[Any]] = None
        self._has_saved = False
        self._plan: Optional[Plan] = None
        self.life = secrets.token_hex(8)

    def save(self, header: Mapping[str, Any], owners: str, files: Files, after: Optional[Path]) -> None:
        """Keep a save, in place of the older of two; `owners` is JSON.

        `after` is the newest durable checkpoint. Raises OSError if there is no room.
        """
        if not self.place:
            self.have_place()
        layout = Layout(files, self._plan)
        self._plan = layout.plan
        content = {
            "package": __version__,
            "life": self.life,
            "saved_at": now(),
            "header": header,
            "guard": self._guard(after),
        }
        text = "".join((json.dumps(content)[:-1], ', "files": ', layout.text, "}\n", owners)).encode()
        slot = self._next_slot(Slot.size_for(layout, text))
        slot.write(self._sequence + 1, layout, text)
        self._sequence += 1
        self._after, self._has_saved = _identity(after), True

    def look(self, after: Optional[Path]) -> list[Kept]:
        """The whole saves made after the durable checkpoint `after` (None: before there was any), the newest first.

        They are readable until the next save.
        """
        self._place = find_place(self._save_dir, self._name)
        if self._place is None:
            return []
        self._slots = [Slot(self._place.folder / name) for name in SLOTS]
        guard = self._guard(after)
        found = [kept for slot in self._slots if (content := slot.read()) and (kept := self._kept(content, guard))]
        return sorted(found, key=lambda kept: kept.identity, reverse=True)

    def load(self, kept: Kept, after: Optional[Path]) -> Loaded:
        """The one of those from which the run goes on; the next save takes the place of the other."""
        self._sequence = kept.identity.sequence
        self._after, self._has_saved = _identity(after), True
        tensors = {suffix: _arrays(file) for suffix, file in kept.files.items()}
        return Loaded(self._save_dir / kept.record.name, kept.record, tensors, ())

    def clear(self) -> None:
        """Forget all saves, and give the memory back."""
        place = self._place
        self._let_go()
        forget_place(self._save_dir, self._name)
        if place is not None:  # Another process may have removed what points there.
            place.remove()

    def clear_here(self) -> None:
        """Give back the memory of this node alone: what points to it is another's, and so is the other nodes'."""
        place = self._place
        self._let_go()
        if place is not None:
            place.remove()

    def close(self, after: Optional[Path]) -> None:
        """The process ends or lets the run go; saves from before the newest durable checkpoint are of no more use."""
        if self._has_saved and self._after != _identity(after):
            self.clear()
        self._let_go()

    def close_here(self) -> None:
        """The process ends, and another one has decided what becomes of the run's saves."""
        if self._place is not None and not self._place.is_wanted:
            self._place.remove()
        self._let_go()

    @property
    def place(self) -> str:
        """The name of the folder in shared memory, the same on each node; empty without one."""
        return self._place.folder.name if self._place is not None and self._place.folder.is_dir() else ""

    def have_place(self, name: str = "") -> None:
        """Make a folder in shared memory, if there is none: a new one, or the one of that name to which others point.

        Raises OSError.
        """
        if self.place and name in ("", self.place):
            return
        if name:
            self.clear_here()
        else:
            self._let_go()
            forget_place(self._save_dir, self._name)
        remove_leftovers()
        self._place = make_place(self._save_dir, self._name, name)
        self._slots = [Slot(self._place.folder / each) for each in SLOTS]

    def _let_go(self) -> None:
        for slot in self._slots:
            slot.close()
        self._slots, self._place, self._has_saved, self._sequence = [], None, False, 0

    def _next_slot(self, needed: int) -> Slot:
        slot = self._slots[(self._sequence + 1) % len(self._slots)]
        if needed > slot.size:
            _require_room(len(self._slots) * needed, sum(each.size for each in self._slots))
        return slot

    def _guard(self, after: Optional[Path]) -> dict[str, Any]:
        """What has to be as it was when a save was made, for it to count."""
        folder = self._save_dir.stat()
        return {
            "boot": _boot(),
            "place": self._place.folder.name if self._place is not None else "",
            "save_dir": _real(self._save_dir, folder.st_dev, folder.st_ino),
            "folder": [folder.st_dev, folder.st_ino],
            "name": self._name,
            "after": _identity(after),
        }

    def _kept(self, content: Content, guard: Mapping[str, Any]) -> Optional[Kept]:
        try:
            if len(content.text) > 2 * MAX_BYTES:
                return None
            head, _, owners = content.text.partition(b"\n")
            saved = parse_json(head)
            if saved["package"] != __version__ or saved["guard"] != guard:
                return None
            files = {suffix: FramedFile(each) for suffix, each in contents(saved["files"], content.arrays).items()}
            record = Record(
                format=FORMAT,
                package=saved["package"],
                saved_at=saved["saved_at"],
                name=f"{self._name}_step{saved['header']['step']}",
                sequence=content.sequence,
                files={suffix: SealedFile(file).entry() for suffix, file in files.items()},
                owners=decode_state(owners.decode()),
                **saved["header"],
            )
            return Kept(Identity(content.sequence, record.step, str(saved["life"])), record, files)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return None


def _arrays(file: FramedFile) -> Arrays:
    """The tensors of a file by name, each in memory of its own, as they are read from disk."""
    entries = file.tensors()
    found = {each["name"]: np.empty(each["shape"], each["dtype"]) for each in entries}
    for number, part in file.parts():
        if number is not None:
            entry = entries[number]
            found[entry["name"]] = np.frombuffer(part, entry["dtype"]).reshape(entry["shape"]).copy()
    return found


def _identity(prefix: Optional[Path]) -> Optional[list[Any]]:
    """What tells one durable checkpoint from any other, also one of the same name; None where there is none."""
    if prefix is None:
        return None
    with suppress(OSError):
        record = sibling(prefix, SUFFIX).stat()
        return [prefix.name, record.st_ino, record.st_mtime_ns, record.st_size]
    return [prefix.name]


def shared_memory() -> tuple[str, int]:
    """What tells the shared memory that this process sees from that of another machine or container."""
    try:
        return _boot(), SHARED_MEMORY.stat().st_dev
    except OSError:
        return _boot(), 0


@lru_cache(maxsize=1)
def _real(folder: Path, device: int, number: int) -> str:
    """Where the folder of this number really lies; if it is moved meanwhile, what is in memory does not count."""
    return os.path.realpath(folder)


def _boot() -> str:
    return _text_of(_BOOT_ID)


@cache
def _text_of(path: Path) -> str:
    """Of a file that stays as it is as long as the machine runs."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _require_room(needed: int, held: int) -> None:
    """Raise OSError if two saves would take more than a part of the memory that is free."""
    space = os.statvfs(SHARED_MEMORY)
    free = min(space.f_bavail * space.f_frsize, _available()) + held
    if needed > free // _SHARE:
        raise OSError(
            f"two of them take {format_bytes(needed)}, and a quarter of what is free in {SHARED_MEMORY} is "
            f"{format_bytes(free // _SHARE)}"
        )


def _available() -> int:
    """How many bytes of memory can be taken without pushing anything out, in this container too."""
    found = [1 << 62]
    with suppress(OSError, ValueError, IndexError):
        lines = _MEMORY.read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # "max" where there is no limit
        limit = int((_CONTAINER / "memory.max").read_text())
        found.append(limit - int((_CONTAINER / "memory.current").read_text()))
    return max(0, min(found))
