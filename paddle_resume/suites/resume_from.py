"""Which checkpoint a wrapped run goes on from; one that cannot do says whose it is, and what it is good for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paddle_resume.checkpoint.catalog import named_prefix
from paddle_resume.checkpoint.choose import AUTO, choose
from paddle_resume.checkpoint.reader import Loaded, sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.checkpoint.weights import is_ours
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.durable_files import temporary

_WEIGHTS = ".pdparams"


def resume_from(
    resume: str, folder: Path, name: str, reading: Callable[[Path], None] = lambda prefix: None
) -> tuple[Loaded | None, list[str]]:
    """As `choose`; raises CheckpointError also for what a suite, or a run of another kind, has saved."""
    if resume != AUTO and _is_of_suite(resume):
        raise CheckpointError(
            f"{resume} was saved by the suite itself: it holds weights and optimizer state only, not where the run "
            "stood, so nothing can go on from it exactly. Leave --resume out, and give it to the suite's own option in "
            "the command, such as -r, --resume_model or Global.checkpoints: that is a new run, which begins there."
        )
    loaded, passed_over = choose(resume, folder, name, reading)
    if loaded is not None and not is_wrapped(loaded):
        raise CheckpointError(
            f"{loaded.prefix} was saved by a run of another kind, not by this command, so it does not say where the "
            "program stood. Give this run another --save-dir or --name."
        )
    return loaded, passed_over


def _is_of_suite(resume: str) -> bool:
    """Whether there are weights, and no record of ours beside them that could be damaged or unfinished."""
    path = Path(resume)
    if path.is_dir():
        records = [*path.glob(f"*{SUFFIX}"), *path.glob(f".*{SUFFIX}.tmp")]
        return any(path.glob(f"*{_WEIGHTS}")) and not any(map(is_ours, records))
    prefix = named_prefix(resume)
    record = sibling(prefix, SUFFIX)
    return sibling(prefix, _WEIGHTS).is_file() and not is_ours(record) and not temporary(record).exists()


def is_wrapped(loaded: Loaded) -> bool:
    """Whether a run of this kind has saved it."""
    position = loaded.record.owners.get("position")
    return isinstance(position, dict) and "site" in position
