"""`verify`: whether checkpoints are whole, and whether the files of each belong together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from paddle_resume.checkpoint.catalog import find_all, named_prefix
from paddle_resume.checkpoint.foreign_optimizer import owner_of
from paddle_resume.checkpoint.reader import peek, sibling
from paddle_resume.checkpoint.record import SUFFIX, Record
from paddle_resume.checkpoint.unreadable import Removed, Unreadable
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import temporary
from paddle_resume.toolbox.byte_progress import Advance, unheard
from paddle_resume.toolbox.checkpoint_source import (
    OPTIMIZER,
    WEIGHTS,
    Opened,
    has_record,
    locate,
    open_checkpoint,
    opened_at,
)
from paddle_resume.toolbox.damage import damages

# The vectors of LBFGS run over all parameters; no single one of them owns one.
_OF_ALL = "state/"
# ASGD keeps a gradient for each of several batches; every other state is one number or has its parameter's shape.
_STACKED = "_y_0"


@dataclass(frozen=True)
class Verified:
    """What came of one checkpoint: every problem, and what is only worth knowing."""

    prefix: str
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    files: int = 0
    tensors: int = 0
    size: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems


def verify(text: str, advance: Advance = unheard) -> Verified:
    """Match every digest of the checkpoint that `text` names, then see whether its files belong together.

    Of files without a record: whether the restricted reader can read them, and whether they fit each other.
    Raises CheckpointError if nothing is there.
    """
    prefix = named_prefix(text)
    if has_record(prefix):
        verified = _verify_ours(prefix, advance)
        if verified is None:
            raise CheckpointError(f"Checkpoint {prefix} was removed while it was read.")
        return verified
    try:
        opened = open_checkpoint(text)
    except CheckpointError as error:
        if Path(text).is_file() or sibling(prefix, WEIGHTS).exists() or sibling(prefix, OPTIMIZER).exists():
            return Verified(str(prefix), [str(error)])
        raise
    advance(opened.size)
    remark = "no record: no digest vouches for it, and no run can go on from it exactly"
    return _told(opened, list(misfits(opened)), [remark])


def verify_folder(folder: Path, advance: Advance = unheard) -> list[Verified]:
    """The same for every checkpoint in `folder`, the last written first; leftovers of dead processes are remarked.

    Raises CheckpointError if there is no checkpoint in it.
    """
    there = [one.prefix for one in find_all(folder) if has_record(one.prefix)]
    while there:
        found = [one for one in (_verify_ours(prefix, advance) for prefix in there) if one is not None]
        if found:
            return found
        there = [
            one.prefix for one in find_all(folder) if has_record(one.prefix)
        ]  # All are removed, and newer ones there.
    raise CheckpointError(f"There is no checkpoint in the folder {folder}; name one by its prefix.")


def misfits(opened: Opened) -> Iterator[str]:
    """Where the files of a checkpoint do not belong together, by names and shapes; reads no values."""
    if opened.record is not None:
        yield from _misfits_of_record(opened.record, opened.prefix)
    weights = opened.files.get(WEIGHTS)
    if weights is None or not opened.names:
        return
    if opened.record is not None:
        for name in sorted(set(opened.names) - set(weights.tensors)):
            yield f"{name} is in the record's table of names, and not in {weights.path.name}"
        for name in sorted(set(weights.tensors) - set(opened.names)):
            yield f"{name} is in {weights.path.name}, and not in the record's table of names"
    structured = {parameter: name for name, parameter in opened.names.items()}
    for suffix, file in opened.files.items():
        if not suffix.endswith(OPTIMIZER):
            continue
        for key, tensor in file.tensors.items():
            parameter = owner_of(key, structured)
            if parameter is None and not key.startswith(_OF_ALL):
                yield f"{key} of {file.path.name} finds no parameter"
            elif parameter is not None and structured[parameter] in weights.tensors:
                shape = weights.tensors[structured[parameter]].shape
                stacked = key == f"{parameter}{_STACKED}" and tensor.shape[1:] == shape
                if tensor.size > tensor.dtype.itemsize and tensor.shape != shape and not stacked:
                    yield (
                        f"{key} of {file.path.name} has shape {list(tensor.shape)}, and its parameter "
                        f"{structured[parameter]} {list(shape)}"
                    )


def _verify_ours(prefix: Path, advance: Advance) -> Optional[Verified]:
    """One checkpoint of ours; None if a training has removed it meanwhile."""
    try:
        located = locate(prefix, verify=True, advance=advance)
    except Removed:
        return None
    except Unreadable as error:
        return Verified(str(prefix), _all_damages(prefix) or [error.reason])
    opened = opened_at(prefix, located)
    remarks = []
    if located.unpublished:
        remarks.append("a save died among its renames: all is there, and the next start completes it")
    elif any(prefix.parent.glob(f".{prefix.name}.*.tmp")):
        remarks.append("a save is being made, or died and left temporary files, which the next start removes")
    if not located.record.exact:
        remarks.append("a resume before it was inexact; its lineage says since when")
    return _told(opened, list(misfits(opened)), remarks)


def _all_damages(prefix: Path) -> list[str]:
    try:
        record = peek(prefix)
    except Unreadable as error:
        return [f"{prefix.name}{SUFFIX}: {error.reason}"]
    lines = []
    for suffix, entry in record.files.items():
        final = sibling(prefix, suffix)
        # Of two copies the one with less damage is told of: the other is a leftover.
        copies = [path for path in (final, temporary(final)) if path == final or path.exists()]
        least = min((damages(path, entry) for path in copies), key=len)
        lines += least
    return lines


def _misfits_of_record(record: Record, prefix: Path) -> Iterator[str]:
    progress = record.owners.get("progress")
    if isinstance(progress, dict) and progress.get("step", record.step) != record.step:
        yield f"{prefix.name}{SUFFIX} says step {record.step}, and its progress {progress['step']}"
    tag = prefix.name.rpartition("_step")[2]
    if tag.isdecimal() and int(tag) != record.step:
        yield f"{prefix.name}{SUFFIX} says step {record.step}, and its name {tag}"


def _told(opened: Opened, problems: list[str], remarks: list[str]) -> Verified:
    tensors = sum(len(file.tensors) for file in opened.files.values())
    return Verified(opened.label, problems, remarks, len(opened.files), tensors, opened.size)
