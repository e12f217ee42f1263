"""`prune`: removes old checkpoints of a folder, never the best, a last good one, or one that is not understood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from paddle_resume.checkpoint import commit
from paddle_resume.checkpoint.catalog import Found, find_all, is_epoch, run_of
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.reader import sibling
from paddle_resume.checkpoint.record import SUFFIX, Record
from paddle_resume.checkpoint.unreadable import Removed, Unreadable
from paddle_resume.errors import CheckpointError, SaveError
from paddle_resume.toolbox.byte_progress import Advance, size_of, unheard
from paddle_resume.toolbox.checkpoint_source import has_record, locate


@dataclass(frozen=True)
class Planned:
    """What is to become of one checkpoint, and why."""

    prefix: str
    remove: bool
    reason: str
    size: int = 0


def plan(
    folder: Path, keep: int, keep_epochs: Optional[int] = None, name: Optional[str] = None, advance: Advance = unheard
) -> list[Planned]:
    """What would be removed if of each run the newest `keep` step checkpoints stay, and `keep_epochs` of an epoch's.

    None keeps every checkpoint of an epoch, as `checkpoint.keep_epochs: null` does. Only those count whose every
    digest matches. Always kept are the one with the step of the best evaluation, the one that a rollback goes back to,
    whatever has another name (`<run>_best`, those of `Trainer.save("name")`), and what is damaged.
    Raises CheckpointError if there is no checkpoint of run `name`.
    """
    lines = [line for run in _runs(folder, name) for line in _plan_run(folder, run, keep, keep_epochs, advance)]
    return [*lines, *_kept_by_name(folder)]


def prune(
    folder: Path, keep: int, keep_epochs: Optional[int] = None, name: Optional[str] = None, advance: Advance = unheard
) -> list[Planned]:
    """Remove what `plan` names, run by run, each as the only writer of its run; returns what was planned then.

    Raises CheckpointError if a living process writes a run (its checkpoints stay), SaveError if a file cannot be
    removed.
    """
    done = []
    for run in _runs(folder, name):
        as_writer = CheckpointEngine(folder, run, background=False)
        try:
            as_writer.prepare()
            # Planned only now: until the lock was held, a trainer may have saved and removed others.
            for line in _plan_run(folder, run, keep, keep_epochs, advance):
                done.append(line)
                if line.remove:
                    _remove(Path(line.prefix))
        finally:
            as_writer.close()
    return [*done, *_kept_by_name(folder)]


def _runs(folder: Path, name: Optional[str]) -> list[str]:
    # One whose record was read counts although its training has removed it since: the run is there.
    found = [run_of(one.prefix) for one in find_all(folder) if one.record is not None or has_record(one.prefix)]
    runs = dict.fromkeys(run for run in found if run is not None and name in (None, run))
    if not runs:
        whose = f" of the run {name}" if name else ""
        raise CheckpointError(f"There is no step or epoch checkpoint{whose} in {folder}; nothing was removed.")
    return list(runs)


def _kept_by_name(folder: Path) -> list[Planned]:
    found = [one for one in find_all(folder) if has_record(one.prefix) and run_of(one.prefix) is None]
    return [Planned(str(one.prefix), False, "kept by its name", _size(one)) for one in found]


def _plan_run(folder: Path, run: str, keep: int, keep_epochs: Optional[int], advance: Advance) -> Iterator[Planned]:
    found = find_all(folder, run)
    newest = next((one.record for one in found if one.record), None)
    whole = {True: 0, False: 0}
    for one in found:
        epoch = is_epoch(one.prefix)
        limit, kind = (keep_epochs, "epoch") if epoch else (keep, "step")
        remove, reason = False, ""
        if not has_record(one.prefix):
            continue
        if one.record is None:
            reason = f"damaged, and so left alone: {one.reason}"
        elif limit is None:
            reason = "an epoch's; --keep-epochs N removes old ones"
        elif whole[epoch] < limit:
            try:
                problem = _problem(one.prefix, advance)
            except Removed:  # Its own training has just removed it.
                continue
            whole[epoch] += not problem
            reason = f"damaged, and so left alone: {problem}" if problem else f"{kind} {whole[epoch]} of {limit} kept"
        elif newest and one.record.step == _best_step(newest):
            reason = "the best evaluation"
        elif newest and one.prefix.name == _target(newest):
            reason = "a rollback goes back to it"
        else:
            remove, reason = True, f"older than the {limit} newest whole {kind} checkpoints"
        yield Planned(str(one.prefix), remove, reason, _size(one))


def _problem(prefix: Path, advance: Advance) -> str:
    try:
        locate(prefix, verify=True, advance=advance)
    except Removed:
        raise
    except Unreadable as error:
        return error.reason
    return ""


def _best_step(record: Record) -> Optional[int]:
    best = record.owners.get("best")
    return best.get("step") if isinstance(best, dict) else None


def _target(record: Record) -> str:
    divergence = record.owners.get("divergence")
    return divergence.get("target", "") if isinstance(divergence, dict) else ""


def _size(found: Found) -> int:
    """The bytes of its files as far as they are there."""
    suffixes = [*(found.record.files if found.record else ()), SUFFIX]
    return sum(size_of(path) for suffix in suffixes if (path := sibling(found.prefix, suffix)).is_file())


def _remove(prefix: Path) -> None:
    try:
        commit.remove(prefix)
    except OSError as error:
        raise SaveError(
            f"Could not remove the checkpoint {prefix}: {error.strerror}. What was removed before it is gone, all "
            "else is as it was; look at the disk, then run the same command again."
        ) from error
