"""Checkpoints in shared memory, which outlive the process: so that a kill costs few steps, whatever lies on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

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
from paddle_resume.checkpoint.snapshot import FileImage, Files, Layout
from paddle_resume.storage.bounded_json import parse_json
from paddle_resume.storage.durable_files import format_bytes
from paddle_resume.storage.framing import FramedFile

_SHARE = 4  # two saves take at most this part of what is free
_MEMORY, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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

    def save(self, header: Mapping[str, Any], owners: str, files: Files, after: Optional[Path]) -> None:
        """Keep a save, in place of the older of two; `owners` is JSON.

        `after` is the newest durable checkpoint. Raises OSError if there is no room.
        """
        self._have_place()
        layout = Layout(files)
        content = {
            "package": __version__,
            "saved_at": now(),
            "owners": owners,
            "header": header,
            "files": {suffix: image.described for suffix, image in layout.images.items()},
            "guard": self._guard(after),
        }
        text = json.dumps(content).encode()
        slot = self._next_slot(Slot.size_for(layout, text))
        slot.write(self._sequence + 1, layout, text)
        self._sequence += 1
        self._after, self._has_saved = _identity(after), True

    def newest(self, after: Optional[Path]) -> Optional[Loaded]:
        """The newest whole save that was made after the durable checkpoint `after` (None: before there was any)."""
        self._place = find_place(self._save_dir, self._name)
        if self._place is None:
            return None
        self._slots = [Slot(self._place.folder / name) for name in SLOTS]
        found = sorted((content for slot in self._slots if (content := slot.read())), reverse=True)
        guard = self._guard(after)
        for content in found:
            self._sequence = max(self._sequence, content.sequence)
            loaded = self._loaded(content, guard)
            if loaded is not None:
                self._after, self._has_saved = _identity(after), True
                return loaded
        return None

    def clear(self) -> None:
        """Forget all saves, and give the memory back."""
        self._let_go()
        forget_place(self._save_dir, self._name)

    def close(self, after: Optional[Path]) -> None:
        """The process ends or lets the run go; saves from before the newest durable checkpoint are of no more use."""
        if self._has_saved and self._after != _identity(after):
            self.clear()
        self._let_go()

    def _let_go(self) -> None:
        for slot in self._slots:
            slot.close()
        self._slots, self._place, self._has_saved, self._sequence = [], None, False, 0

    def _have_place(self) -> None:
        if self._place is not None and self._place.folder.is_dir():
            return
        self._let_go()
        remove_leftovers()
        forget_place(self._save_dir, self._name)
        self._place = make_place(self._save_dir, self._name)
        self._slots = [Slot(self._place.folder / name) for name in SLOTS]

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
            "save_dir": os.path.realpath(self._save_dir),
            "folder": [folder.st_dev, folder.st_ino],
            "name": self._name,
            "after": _identity(after),
        }

    def _loaded(self, content: Content, guard: Mapping[str, Any]) -> Optional[Loaded]:
        try:
            if len(content.text) > 2 * MAX_BYTES:
                return None
            saved = parse_json(content.text)
            if saved["package"] != __version__ or saved["guard"] != guard:
                return None
            files = {
                suffix: FramedFile(FileImage(each).content(content.arrays)) for suffix, each in saved["files"].items()
            }
            record = Record(
                format=FORMAT,
                package=saved["package"],
                saved_at=saved["saved_at"],
                name=f"{self._name}_step{saved['header']['step']}",
                sequence=content.sequence,
                files={suffix: SealedFile(file).entry() for suffix, file in files.items()},
                owners=decode_state(saved["owners"]),
                **saved["header"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return None
        prefix = self._save_dir / record.name
        return Loaded(prefix, record, {suffix: _arrays(file) for suffix, file in files.items()}, ())


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


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
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
