"""Why a wrapped run cannot go on from its checkpoint, in the words of its command."""

from __future__ import annotations

from paddle_resume.checkpoint.reader import Loaded
from paddle_resume.checkpoint.resume_errors import Refusal
from paddle_resume.command_line import continuing
from paddle_resume.errors import CheckpointError


def explain(refusal: Refusal) -> str:
    """What differs, and the command that goes on all the same."""
    text = refusal.listed(
        refusal.differences,
        "Put them back; or start over with --resume none --overwrite, or with another --save-dir or --name. A run is "
        "not made longer, since where its loops end was saved with them: let it end, and begin a new one from its last "
        "files by the program's own option. Or go on all the same with --allow-inexact (the run's lineage will say so)",
    )
    command = continuing()
    marked = command.replace("paddle_resume.wrap", "paddle_resume.wrap --allow-inexact", 1)
    return f"{text}:\n  {marked}" if marked != command else f"{text}."


def not_there(loaded: Loaded) -> CheckpointError:
    """The error of a program that did not come to where it was saved."""
    site = loaded.record.owners["position"]["site"]
    return CheckpointError(
        f"The program trained without coming to where {loaded.prefix} was saved: {site[-1][0]}, line {site[-1][1]}. It "
        "is another program, or takes another way. Use the one of that run; or start over with --resume none "
        "--overwrite, or another --save-dir or --name."
    )
