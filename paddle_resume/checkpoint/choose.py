"""Which checkpoint a resume means: the newest whole one of a run, of a folder, or the one that a user names."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from paddle_resume.checkpoint.catalog import BEST, Found, find_all, named_prefix
from paddle_resume.checkpoint.foreign_checkpoint import is_foreign
from paddle_resume.checkpoint.lineage import Lineage
from paddle_resume.checkpoint.phases import DONE
from paddle_resume.checkpoint.reader import Loaded, load
from paddle_resume.checkpoint.resume_errors import missing, offer
from paddle_resume.checkpoint.unreadable import Foreign, NoRecord, Unreadable
from paddle_resume.errors import CheckpointError
from paddle_resume.parallel.world import World

AUTO = "auto"


def choose(
    resume: str, folder: Path, name: str, reading: Callable[[Path], None] = lambda prefix: None
) -> tuple[Loaded | None, list[str]]:
    """The verified checkpoint that `resume` means for run `name` in `folder`, and a line for each passed over.

    None if `resume` is `auto` and there is none. `reading` is told of each before it is read. Raises CheckpointError
    for a named one that is missing or damaged, and if there are checkpoints and none is whole.
    """
    if resume == AUTO:
        loaded, passed_over = _newest(list_checkpoints(folder, name), reading)
        if loaded is None and passed_over:
            raise CheckpointError(
                f"None of this run's checkpoints is whole. {_listed(passed_over)} Put a good copy back, or start "
                "over with --resume none --overwrite."
            )
        return loaded, passed_over
    if Path(resume).is_dir():
        found = list_checkpoints(Path(resume), name) or list_checkpoints(Path(resume))
        loaded, passed_over = _newest(found, reading)
        if loaded is None:
            raise CheckpointError(f"There is no whole checkpoint in the folder {resume}. {_listed(passed_over)}")
        return loaded, passed_over
    prefix = named_prefix(resume)
    reading(prefix)
    try:
        return load(prefix), []
    except NoRecord as error:
        of_run = name if prefix.name == f"{name}_{BEST}" else None
        raise missing(prefix, good_checkpoints(prefix.parent, of_run)) from error
    except Unreadable as error:
        raise not_whole(prefix, error) from error


def steps_back(found: list[Found], steps: int) -> Path | None:
    """Of a run's checkpoints the one to go back to, to make so many steps of the newest again, or as many as can be.

    None if that is the newest itself, or if nothing is left to train. An older one of another course, before a change
    or a rollback, is none that the run would go on from.
    """
    whole = [(one.record, one.prefix) for one in found if one.record is not None]
    if not whole or whole[0][0].phase == DONE:
        return None
    newest, course = whole[0][0].step, Lineage(whole[0][0].lineage).course
    older = [
        (record.step, prefix)
        for record, prefix in whole
        if record.step < newest and Lineage(record.lineage).course == course
    ]
    # The nearest of those that are far enough; without one, the farthest of the others.
    for _, prefix in sorted(older, key=lambda one: (one[0] > newest - steps, abs(newest - steps - one[0]))):
        try:
            load(prefix)
        except Unreadable:
            continue
        return prefix
    return None


def as_chosen(prefix: Path, files: object) -> Loaded:
    """The checkpoint that rank 0 chose, as it is seen from here; raises CheckpointError if it is another here."""
    try:
        loaded = load(prefix)
        if loaded.record.files != files:
            raise Foreign("what is here is another save than rank 0 sees")
    except Unreadable as error:
        raise CheckpointError(
            f"rank 0 resumes from {prefix}, and on {socket.gethostname()}: {error.reason}. All nodes have to see "
            "the same run.save_dir, on a file system that they share."
        ) from error
    return loaded


def choose_together(
    world: World, choose_here: Callable[[Callable[[Path], None]], tuple[Loaded | None, list[str]]]
) -> tuple[Loaded | None, list[str]]:
    """What `choose_here` gives in rank 0, in every process; it is told whom to tell what it reads.

    The others read side by side with rank 0 what that reads first, and mostly chooses.
    """
    if not world.is_main:
        ahead = _read_ahead(world.broadcast_object(None))
        chosen = world.broadcast_object(None)
        if chosen is None or (ahead is not None and (ahead.prefix, ahead.record.files) == chosen):
            return (None if chosen is None else ahead), []
        del ahead
        return as_chosen(*chosen), []
    told: list[Path] = []

    def reading(prefix: Path) -> None:
        if not told:
            told.append(prefix)
            world.broadcast_object(prefix)

    loaded, passed_over = choose_here(reading)
    if not told:
        world.broadcast_object(None)
    world.broadcast_object((loaded.prefix, loaded.record.files) if loaded else None)
    return loaded, passed_over


def list_checkpoints(folder: Path, name: str | None = None) -> list[Found]:
    """The checkpoints of run `name` (of any run if None), the last written first; raises CheckpointError."""
    try:
        return find_all(folder, name)
    except OSError as error:
        raise CheckpointError(
            f"The folder {folder} could not be read: {error.strerror}. Nothing was changed; look at the disk, then run "
            "the same command again."
        ) from error


def good_checkpoints(folder: Path, name: str | None = None) -> list[str]:
    """The prefixes of all whole checkpoints in `folder`, of run `name` if given; every byte of them is read."""
    good = []
    for checkpoint in list_checkpoints(folder, name):
        try:
            load(checkpoint.prefix)
            good.append(str(checkpoint.prefix))
        except Unreadable:
            continue
    return good


def not_whole(prefix: Path, error: Unreadable) -> CheckpointError:
    """The error for a checkpoint that was named and cannot be used, with those that can."""
    return CheckpointError(
        f"Checkpoint {prefix} is not whole: {error.reason}. {offer(good_checkpoints(prefix.parent))}"
    )


def _read_ahead(prefix: Path | None) -> Loaded | None:
    try:
        return None if prefix is None else load(prefix)
    except Unreadable:
        return None  # Rank 0 finds that too, or names the one that has to be readable here.


def _newest(found: list[Found], reading: Callable[[Path], None]) -> tuple[Loaded | None, list[str]]:
    passed_over: list[str] = []
    for checkpoint in found:
        reading(checkpoint.prefix)
        try:
            return load(checkpoint.prefix), passed_over
        except Unreadable as error:
            foreign = is_foreign(checkpoint.prefix)
            reason = "another program saved it; name it with --resume to go on from it" if foreign else error.reason
            passed_over.append(f"{checkpoint.prefix}: {reason}")
    return None, passed_over


def _listed(lines: list[str]) -> str:
    return f"Passed over: {'; '.join(lines)}." if lines else ""
