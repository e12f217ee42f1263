"""`recover`: what can be saved from a broken folder: commits that only lack their renames are completed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from paddle_resume.checkpoint import commit
from paddle_resume.checkpoint.catalog import run_of, unfinished
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.storage.durable_files import explain
from paddle_resume.toolbox.byte_progress import Advance, unheard
from paddle_resume.toolbox.listing import UNPUBLISHED, Listed, list_checkpoints


@dataclass(frozen=True)
class Recovered:
    """The checkpoints of a folder, every digest matched; by run the prefixes whose save or removal was cut short.

    `tidied` says whether commits were completed and leftovers removed; else the next start does it, or `--yes`.
    """

    folder: str
    checkpoints: list[Listed]
    leftovers: dict[str, list[str]] = field(default_factory=dict)
    tidied: bool = False

    @property
    def newest_whole(self) -> str:
        """The prefix that a run can go on from; empty if there is none."""
        return next((one.prefix for one in self.checkpoints if one.good), "")

    @property
    def damaged(self) -> list[Listed]:
        """Those of our own checkpoints that are not whole."""
        return [one for one in self.checkpoints if one.state == "damaged"]


def survey(folder: Path, advance: Advance = unheard) -> Recovered:
    """Look at every checkpoint of `folder`, and change nothing."""
    return Recovered(str(folder), list_checkpoints(folder, verify=True, advance=advance), _leftovers(folder))


def tidy(folder: Path, advance: Advance = unheard) -> Recovered:
    """Complete the commits that died among their renames, remove what others left, and look again.

    It is what the next start of each run would do. Raises CheckpointError if a living process writes a run, and
    SaveError if the disk fails.
    """
    unpublished = [Path(one.prefix) for one in list_checkpoints(folder) if one.state == UNPUBLISHED]
    for run in dict.fromkeys([*map(_run, unpublished), *_leftovers(folder)]):
        as_writer = CheckpointEngine(folder, run, background=False)
        try:
            as_writer.prepare()
            for prefix in unpublished:
                if _run(prefix) == run:
                    commit.recover(prefix)  # Of `<run>_best` too, which a start leaves to the next save of it.
        except OSError as error:
            raise explain(error, folder, 0) from error
        finally:
            as_writer.close()
    found = survey(folder, advance)
    return Recovered(found.folder, found.checkpoints, found.leftovers, tidied=True)


def _leftovers(folder: Path) -> dict[str, list[str]]:
    """Prefixes of unfinished saves and removals, by run."""
    found: dict[str, list[str]] = {}
    for prefix in dict.fromkeys(prefix for end in ("tmp", "removed") for prefix in unfinished(folder, None, end)):
        found.setdefault(_run(prefix), []).append(str(prefix))
    return found


def _run(prefix: Path) -> str:
    return run_of(prefix) or prefix.name.rpartition("_")[0]
