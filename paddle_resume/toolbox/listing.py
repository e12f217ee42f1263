"""`list`: the checkpoints of a folder as their records tell of them, without reading a tensor unless asked to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from paddle_resume.checkpoint.catalog import find_all, run_of
from paddle_resume.checkpoint.memory_place import runs_in_memory
from paddle_resume.checkpoint.memory_tier import MemoryTier
from paddle_resume.checkpoint.reader import sibling
from paddle_resume.checkpoint.record import SUFFIX, Record
from paddle_resume.checkpoint.unreadable import Removed, Unreadable
from paddle_resume.toolbox.byte_progress import Advance, size_of, unheard
from paddle_resume.toolbox.checkpoint_source import OPTIMIZER, WEIGHTS, has_record, locate

_LOOKS = 5
COMPLETE, UNPUBLISHED, DAMAGED, NO_RECORD = "complete", "unpublished", "damaged", "no record"
IN_MEMORY = "in memory"


@dataclass(frozen=True)
class Listed:
    """One line of the list; what a damaged checkpoint cannot tell is None or empty.

    `state` is `complete`, `unpublished` (whole, but a save died among its renames; the next start completes it),
    `damaged` for the `reason`, `no record` for files that another program saved, or `in memory` for what a killed run
    goes on from, which is on no disk.
    """

    prefix: str
    state: str
    reason: str = ""
    verified: bool = False
    run: Optional[str] = None
    step: Optional[int] = None
    epoch: Optional[int] = None
    phase: Optional[str] = None
    metrics: dict[str, float] = field(default_factory=dict)
    size: int = 0
    saved_at: Optional[str] = None
    exact: Optional[bool] = None
    resumes: int = 0

    @property
    def good(self) -> bool:
        """Whether a run can go on from it exactly, as far as was looked."""
        return self.state in (COMPLETE, UNPUBLISHED, IN_MEMORY)


def list_checkpoints(folder: Path, *, verify: bool = False, advance: Advance = unheard) -> list[Listed]:
    """What runs have in memory, every checkpoint in `folder`, the last written first, then files without a record.

    Files count as whole by their size; with `verify` every digest is matched.
    """
    listed: list[Listed] = []
    for _ in range(_LOOKS):
        there = [found for found in find_all(folder) if found.record is not None or has_record(found.prefix)]
        listed = [one for found in there if (one := _look(found.prefix, verify, advance)) is not None]
        if listed or not there:
            break  # Else a training has removed all of them meanwhile, and saved newer ones.
    known = {Path(one.prefix) for one in listed}
    files = [path for suffix in (WEIGHTS, OPTIMIZER) for path in sorted(folder.glob(f"*{suffix}"))]
    prefixes = dict.fromkeys(path.with_suffix("") for path in files if not path.name.startswith("."))
    foreign = [_foreign(prefix) for prefix in prefixes if not _told_of(prefix, known) and not has_record(prefix)]
    return [*_in_memory(folder, listed), *listed, *(one for one in foreign if one is not None)]


def metrics_of(record: Record) -> dict[str, float]:
    """The latest metrics by tag, such as `valid/acc`, that the record holds."""
    progress = record.owners.get("progress")
    results: Any = progress.get("results") if isinstance(progress, dict) else None
    given = results.items() if isinstance(results, dict) else ()
    return {tag: value for tag, value in given if isinstance(value, (int, float))}


def _in_memory(folder: Path, on_disk: list[Listed]) -> Iterator[Listed]:
    """The newest save in memory of each run from which its next start will go on."""
    for run in runs_in_memory(folder):
        newest = next((Path(one.prefix) for one in on_disk if one.run == run and one.good), None)
        kept = MemoryTier(folder, run).look(newest)
        if kept:
            record = kept[0].record
            yield Listed(
                prefix=f"{run} ({'before any checkpoint' if newest is None else f'after {newest.name}'})",
                state=IN_MEMORY,
                verified=True,
                run=run,
                step=record.step,
                epoch=record.epoch,
                phase=record.phase,
                metrics=metrics_of(record),
                size=sum(entry.size for entry in record.files.values()),
                saved_at=record.saved_at,
                exact=record.exact,
                resumes=sum(event.get("event") == "resume" for event in record.lineage),
            )


def _look(prefix: Path, verify: bool, advance: Advance) -> Optional[Listed]:
    """One checkpoint of ours; None if a training has removed it meanwhile."""
    try:
        located = locate(prefix, verify=verify, advance=advance)
    except Removed:
        return None
    except Unreadable as error:
        return Listed(str(prefix), DAMAGED, error.reason, verified=verify, run=run_of(prefix))
    record = located.record
    return Listed(
        prefix=str(prefix),
        state=UNPUBLISHED if located.unpublished else COMPLETE,
        verified=verify or located.unpublished,
        run=run_of(prefix),
        step=record.step,
        epoch=record.epoch,
        phase=record.phase,
        metrics=metrics_of(record),
        size=located.size + (0 if located.unpublished else size_of(sibling(prefix, SUFFIX))),
        saved_at=record.saved_at,
        exact=record.exact,
        resumes=sum(event.get("event") == "resume" for event in record.lineage),
    )


def _told_of(prefix: Path, known: set[Path]) -> bool:
    """Whether the file belongs to a checkpoint; one of several optimizers is called `<prefix>.<name>.pdopt`."""
    return prefix in known or prefix.with_suffix("") in known


def _foreign(prefix: Path) -> Optional[Listed]:
    """Files that no record tells of; None if they are gone, as those of a checkpoint that is just being removed."""
    files = [path for suffix in (WEIGHTS, OPTIMIZER) if (path := sibling(prefix, suffix)).is_file()]
    if not files:
        return None
    what = "weights without a record" if len(files) == 1 and files[0].suffix == WEIGHTS else "saved by another program"
    if sibling(prefix, SUFFIX).is_file():
        files.append(sibling(prefix, SUFFIX))
    return Listed(str(prefix), NO_RECORD, what, size=sum(map(size_of, files)))
