"""The errors of a start that cannot be: what was named is missing, would not go on bit for bit, or be overwritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.reader import sibling
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.differences import Difference, leading, sentences
from paddle_resume.errors import CheckpointError, InexactResumeError


def missing(prefix: Path, good: list[str]) -> CheckpointError:
    """The error for a named checkpoint that is not there, or not whole, or not ours."""
    there = [suffix for suffix in (".pdparams", ".pdopt") if sibling(prefix, suffix).exists()]
    if not there:
        text = f"There is no checkpoint {prefix}."
        if prefix.name.endswith(f"_{BEST}"):
            text += (
                " The best one is kept where best.monitor is set, from the first evaluation on that has such a result."
            )
    elif there == [".pdparams"]:
        text = (
            f"{prefix}.pdparams has no {prefix.name}.pdopt and no {prefix.name}{SUFFIX} beside it, so there is no "
            "optimizer state or position to resume from; its weights alone can be loaded with --weights."
        )
    else:
        text = (
            f"{prefix}.pdopt has no {prefix.name}.pdparams and no {prefix.name}{SUFFIX} beside it, so there are no "
            "weights to resume from."
        )
    return CheckpointError(f"{text} {offer(good)}")


@dataclass(frozen=True)
class Refusal:
    """What stands against going on from a checkpoint of ours.

    Args:
        prefix: the checkpoint.
        differences: all that differs, and was not asked for.
        changes: what differs, and was asked for.
        states: the owners' states as the record holds them.
        started_by: the command that started the run; empty if the record does not tell.
    """

    prefix: Path
    differences: Sequence[Difference]
    changes: Sequence[Difference]
    states: Mapping[str, Any]
    started_by: str = ""

    def listed(self, differences: Sequence[Difference], note: str = "", in_python: bool = False) -> str:
        """What changed, a line each, and what the run was started with."""
        lines = "".join(f"\n  {one.advice_in_python if in_python else one.advice}" for one in differences)
        text = f"Resuming from {self.prefix} would not continue bit for bit, because since it was saved these changed:"
        text += lines
        if self.changes:
            text += "\nLeave was given to these:" + "".join(f"\n  {one}" for one in leading(self.changes))
        if self.started_by:
            text += f"\nThe run was started with: {self.started_by}"
        text += "".join(f"\n{hint}" for hint in dict.fromkeys(one.hint for one in self.differences) if hint)
        return f"{text}\n{note}" if note else text


Explain = Callable[[Refusal], str]
"""Puts a refusal into words, with what to do next."""


def explain_to_program(refusal: Refusal, leave: str = "CheckpointEngine.restore(allow_inexact=True)") -> str:
    """The refusal of a run that a program describes."""
    return refusal.listed(
        leading(refusal.differences),
        f"Put them back; or go on all the same with {leave} (the run's lineage will say so); or start over.",
    )


def inexact_foreign(prefix: Path, differences: Sequence[Difference], good: list[str]) -> InexactResumeError:
    """The error for a checkpoint that another program saved, as long as nobody has said that it may be inexact."""
    return InexactResumeError(
        f"{prefix} has .pdparams and .pdopt but no commit record ({prefix.name}{SUFFIX}): another program saved it, or "
        f"its record was lost. Going on from it would not be exact: {sentences(differences)}. Go on all the same with "
        "--allow-inexact (the run's lineage will say so), or load its weights alone into a new run with --weights. "
        f"{offer(good)}"
    )


def of_earlier_run(prefixes: Sequence[Path]) -> CheckpointError:
    """The error for a fresh start where an earlier run has checkpoints."""
    return CheckpointError(
        f"--resume none would write over the checkpoints of an earlier run: {', '.join(map(str, prefixes))}. Add "
        "--overwrite to remove them, leave out --resume to continue that run, or choose another run.name or "
        "run.save_dir."
    )


def of_another_program(files: Sequence[Path]) -> CheckpointError:
    """The error for a fresh start where files lie that no record tells of."""
    return CheckpointError(
        f"{', '.join(map(str, files))} would be overwritten by this run, and no commit record tells of them: another "
        f"program saved them, or the record was lost. Go on from them with --resume {files[0].with_suffix('')} "
        "--allow-inexact, or choose another run.name or run.save_dir, or move them away."
    )


def offer(good: list[str]) -> str:
    """One sentence that names the checkpoints which can be used."""
    return f"Checkpoints that can be resumed: {', '.join(good)}." if good else "No other checkpoint is there."
