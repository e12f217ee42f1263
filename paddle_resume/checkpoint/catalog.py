"""Which checkpoints a run folder holds, and which of them a user's `--resume` means."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path

from paddle_resume.checkpoint.reader import peek, sibling
from paddle_resume.checkpoint.record import SUFFIX, Record
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.storage.durable_files import temporary

BEST = "best"
"""The tag of the checkpoint of the best evaluation; `auto` never resumes from it, and retention never removes it."""
_SUFFIXES = (".pdparams", ".pdopt", ".pdstates", ".pdbuffers", ".pdema", ".pdfound", ".pdgrad")
_TAG = re.compile(r"_(epoch|step)(\d+)$")
_UNFINISHED = re.compile(r"\.(.+_(?:epoch|step)\d+)(?:\.[A-Za-z0-9_]+){1,2}\.(?:tmp|removed)")


@dataclass(frozen=True)
class Found:
    """One checkpoint as its record tells it, or why its record cannot be believed."""

    prefix: Path
    record: Record | None
    reason: str = ""


def is_epoch(prefix: Path) -> bool:
    """Whether the name is that of an epoch's checkpoint, and not of a step's."""
    match = _TAG.search(prefix.name)
    return match is not None and match[1] == "epoch"


def run_of(prefix: Path) -> str | None:
    """The name of the run whose step or epoch checkpoint this is; None for any other name, such as that of the best."""
    match = _TAG.search(prefix.name)
    return prefix.name[: match.start()] if match else None


def find_all(folder: Path, name: str | None = None) -> list[Found]:
    """The checkpoints of run `name` (of any run if None) in `folder`, the last written first."""
    prefixes = {folder / p.name[: -len(SUFFIX)] for p in folder.glob(f"*{SUFFIX}")}
    prefixes |= {folder / p.name[1 : -len(f"{SUFFIX}.tmp")] for p in folder.glob(f".*{SUFFIX}.tmp")}
    found = [_look(prefix) for prefix in prefixes if _belongs(prefix, name)]
    # Broken records go last: their place in the sequence is unknown.
    return sorted(found, key=lambda f: (f.record.sequence if f.record else -1, f.prefix.name), reverse=True)


def unfinished(folder: Path, name: str | None, end: str) -> list[Path]:
    """Prefixes of run `name` of which hidden files with this end are left: `tmp` of saves, `removed` of removals.

    Those of other runs in the folder are left alone: a living process may be writing them. None gives those of all.
    """
    hidden = [match for p in folder.glob(f".*.{end}") if (match := _UNFINISHED.fullmatch(p.name))]
    return sorted(prefix for prefix in {folder / match[1] for match in hidden} if _belongs(prefix, name))


def without_record(folder: Path, name: str) -> list[Path]:
    """Weights and optimizer states under names of run `name` that no commit record tells of: not ours to overwrite."""
    files = [path for suffix in (".pdparams", ".pdopt") for path in folder.glob(f"{glob.escape(name)}_*{suffix}")]
    prefixes = {path: folder / path.name[: -len(path.suffix)] for path in files}
    return sorted(
        path
        for path, prefix in prefixes.items()
        if _belongs(prefix, name)
        and not sibling(prefix, SUFFIX).exists()
        and not temporary(sibling(prefix, SUFFIX)).exists()
    )


def named_prefix(text: str) -> Path:
    """The prefix that a user's `--resume` or `--weights` means: the suffix of any of its files may be there."""
    path = Path(text)
    return path.with_suffix("") if path.suffix in _SUFFIXES else path


def _belongs(prefix: Path, name: str | None) -> bool:
    return name is None or run_of(prefix) == name


def _look(prefix: Path) -> Found:
    try:
        return Found(prefix, peek(prefix))
    except Unreadable as error:
        return Found(prefix, None, error.reason)
