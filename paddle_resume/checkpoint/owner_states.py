"""The owners' states on their way into a checkpoint and back; what is inside them is theirs alone."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paddle_resume.checkpoint.record import FILE_SUFFIX, MAX_BYTES, SUFFIX, Record, encode_state
from paddle_resume.checkpoint.snapshot import Files
from paddle_resume.differences import Difference, reported_by
from paddle_resume.errors import CheckpointError, PaddleResumeError, StateError
from paddle_resume.owners.device_copies import device_copies
from paddle_resume.stateful import Compared, HasFile, MayBeAbsent, Owner, Owners, PreparesSave, Stateful, WritesFiles
from paddle_resume.storage.bounded_json import is_readable


def prepare(owners: Owners) -> None:
    """Let every owner make its state readable, in all processes together."""
    for owner in reversed(list(owners.that_are(PreparesSave).values())):
        owner.prepare_save()


def written_files(owners: Owners) -> list[Path]:
    """The files that have to be durable before a checkpoint of these owners is."""
    return [path.absolute() for owner in owners.that_are(WritesFiles).values() for path in owner.written_files()]


def capture(owners: Owners) -> tuple[str, Files]:
    """The plain states as JSON, and the files; the last restored (randomness) is the first captured."""
    files: dict[str, Any] = {}
    states: dict[str, Any] = {}
    with_files = owners.that_are(HasFile)
    for name, owner in reversed(list(owners.items())):
        with device_copies.later() if name in with_files else contextlib.nullcontext():
            state = owner.state_dict()
        if not state and _may_be_absent(owner):
            continue
        if name in with_files:
            suffix = with_files[name].suffix
            if suffix in files or suffix == SUFFIX or not re.fullmatch(FILE_SUFFIX, suffix):
                raise StateError(
                    f"{name!r} asks for a file {suffix!r}, which is taken by another owner or no suffix of one or two "
                    "parts of letters, digits and '_', such as '.generator.pdopt'; give it another name."
                )
            files[suffix] = state
        else:
            states[name] = encode_state(name, state)
    device_copies.wait()
    plain = ", ".join(f"{json.dumps(name)}: {states[name]}" for name in reversed(states))
    if not is_readable(plain, MAX_BYTES):
        largest = max(states, key=lambda name: len(states[name]))
        raise StateError(
            f"The state of {largest!r} is too large for a record ({len(states[largest]) >> 20} MiB as text), which no "
            "resume would read. Keep large lists of numbers in it as NumPy arrays, or give it a file with `suffix`."
        )
    return f"{{{plain}}}", dict(reversed(files.items()))


def restore(owners: Owners, states: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Give each owner its state back, in the order of the owners; one of which nothing was saved stays as it is."""
    for name, owner in owners.items():
        if isinstance(owner, HasFile):
            if owner.suffix in tensors:
                with _sensible(name, owner):
                    owner.set_state_dict(tensors[owner.suffix])
        elif isinstance(owner, Stateful) and name in states:
            with _sensible(name, owner):
                owner.set_state_dict(states[name])


def differences(owners: Owners, record: Record) -> list[Difference]:
    """What is not as it was when the record was written, owner by owner; first what is not on both sides."""
    plain = {name: owner for name, owner in owners.items() if not isinstance(owner, HasFile)}
    found = _not_on_both("state of {!r}", record.owners, plain)
    found += _not_on_both("file {}", record.files, owners.files)
    found = reported_by("owners", found)
    for name, owner in owners.items():
        if name in record.owners and isinstance(owner, Compared):
            with _sensible(name, owner):
                found += reported_by(name, owner.differences(record.owners[name]))
    causes = [key for one in found if not one.follows and one.scope is not None for key in one.scope.keys]
    return [one for one in found if not (one.follows and one.scope is not None and any(map(one.scope.covers, causes)))]


@contextlib.contextmanager
def _sensible(name: str, owner: Owner) -> Iterator[None]:
    """A record whose digest fits may still have been edited; an owner of this package asks no more than types of it.

    Raises CheckpointError for what that owner makes no sense of. Errors of a user's own owner are the user's to see.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, PaddleResumeError) or not type(owner).__module__.startswith("paddle_resume."):
            raise
        raise CheckpointError(
            f"The checkpoint's state of {name!r} is none that this package saves ({type(error).__name__}: "
            f"{str(error)[:200]}): its record was edited, or another version wrote it. Resume from another checkpoint."
        ) from error


def _not_on_both(subject: str, saved: Mapping[str, Any], here: Mapping[str, Owner]) -> list[Difference]:
    expected = {name for name, owner in here.items() if not _may_be_absent(owner)}
    lost = [Difference(subject.format(name), "saved", "nobody here owns it") for name in saved if name not in here]
    new = [Difference(subject.format(name), "not saved", "owned here") for name in sorted(expected - set(saved))]
    return lost + new


def _may_be_absent(owner: Owner) -> bool:
    return isinstance(owner, MayBeAbsent) and owner.may_be_absent
