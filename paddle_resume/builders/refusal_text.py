"""What is said where a config is not that of the run's checkpoint: each key, and one command that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.resume_errors import Refusal
from paddle_resume.command_line import is_of_a_command, with_options
from paddle_resume.config.allowed_changes import AllowedChanges
from paddle_resume.differences import ABSENT, CONFIG, Difference, leading, within
from paddle_resume.environment import Environment
from paddle_resume.lr.stepper import LR_SCOPE
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.training.rate_ways import RateWays

# With another value of these the weights or the optimizer's state do not fit any more.
_OF_THE_MODEL = "model"
_OF_THE_OPTIMIZER = "optimizer.name"
# Keys with which an owner of state comes or goes, and its name or that of its file.
_OWNERS = {"trainer.ema": ("ema", ".pdema"), "best": ("best",), "callbacks": ("callback.",)}


def explain_config(
    refusal: Refusal,
    schedulers: Mapping[str, SchedulerState],
    overrides: Sequence[str],
    allowing: Callable[[Sequence[str]], AllowedChanges],
    counted: Sequence[str],
    run_name: str,
) -> str:
    """The refusal of a run that a config describes.

    `allowing` gives what decides where certain keys may change; `counted` are the keys that were `auto`.
    """
    shown = _shown(refusal.differences)
    keys = [one.subject for one in shown if one.owner == CONFIG]
    other_model = [key for key in keys if within(key, _OF_THE_MODEL)]
    if other_model or _OF_THE_OPTIMIZER in keys:
        return _another_run(refusal, shown, "model" if other_model else "optimizer", run_name)
    nameable = [*refusal.changes, *(one for one in shown if one.owner == CONFIG and one.after is not ABSENT)]
    allowed = allowing([*overrides, *(one.subject for one in nameable)]).wanted(refusal.differences)
    rest = [one for one in refusal.differences if one not in allowed]
    workers = next((one for one in rest if one.subject.endswith("data num_workers")), None)
    if workers is not None:
        command = _command("-o", f"data.num_workers={workers.before}")
        return refusal.listed(shown, f"The order of a stream depends on its workers. Have as many:\n  {command}")
    variables = Environment.variables_before(rest)
    if rest and not variables:
        return refusal.listed(
            shown,
            "Put them back, or start over with --resume none --overwrite. To go on all the same, inexact from here on, "
            f"which the run's lineage will tell:\n  {_command('--allow-inexact')}",
        )
    given = allowing(overrides).wanted(refusal.differences)
    rate = [key for key in keys if within(key, LR_SCOPE.keys[0])]
    ways = RateWays(refusal, schedulers)
    options: list[str] = []
    others = [one for one in nameable if one.subject not in rate or not ways.are_many]
    for one in others:
        if one not in given and one not in refusal.changes:
            options += ["-o", f"{one.subject}={one.spelled(one.after)}"]
    options += ["--allow-change"] if others or not (rate or variables) else []
    note = f"To go on as before, start it with {_listing(variables)}." if variables and not nameable else ""
    if nameable or not variables:
        note = "Put them back; or go on with the new values from here on, which the run's lineage will tell."
    if rate and ways.are_many:
        counts = set(rate) <= set(counted)
        note += " It is auto: it counts the steps of the run." if counts else ""
        note += ways.text(lambda way: f"--lr-change {way}") + "For example:"
        options += ["--lr-change", ways.best]
    return refusal.listed(shown, f"{note}\n  {_command(*options, environment=variables)}")


def _another_run(refusal: Refusal, shown: Sequence[Difference], what: str, run_name: str) -> str:
    taken = {one.prefix.name for one in find_all(refusal.prefix.parent, None)}
    number = 2
    while any(name.startswith(f"{run_name}_{number}_") for name in taken):
        number += 1
    options = ["-o", f"run.name={run_name}_{number}"]
    options += ["--weights", str(refusal.prefix)] if what == "optimizer" else []
    begins = ", which begins with these weights" if what == "optimizer" else ""
    return refusal.listed(
        shown,
        f"What was saved of one {what} does not fit another. Put it back, or make it a run of its own{begins}:\n"
        f"  {_command(*options, anew=True)}",
    )


def _shown(differences: Sequence[Difference]) -> list[Difference]:
    """One line for each change: what only follows from a key is left out."""
    keys = [one.subject for one in differences if one.owner == CONFIG]
    owners = [name for key, names in _OWNERS.items() if any(within(k, key) for k in keys) for name in names]
    return [
        one for one in leading(differences) if one.owner != "owners" or not any(name in one.subject for name in owners)
    ]


def _command(*options: str, **how: object) -> str:
    if is_of_a_command():
        return with_options(*options, **how)  # type: ignore[arg-type]
    return shlex.join(["paddle-resume", "train", "...", *options])


def _listing(variables: Mapping[str, object]) -> str:
    return ", ".join(f"{name} not set" if value is None else f"{name}={value}" for name, value in variables.items())
