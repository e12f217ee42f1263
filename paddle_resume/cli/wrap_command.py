"""The command that runs somebody's training program so that an interruption changes nothing."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import os
import re
import shlex
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import typer
from typing_extensions import Annotated

from paddle_resume.command_line import given_arguments
from paddle_resume.errors import ConfigError
from paddle_resume.translations.language import VARIABLE, language

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?(\.exe)?")


def wrap(
    command: Annotated[
        List[str], typer.Argument(metavar="-- COMMAND...", help="The training command, as it is typed without this.")
    ],
    save_dir: Annotated[Path, typer.Option(help="Where the checkpoints are.")] = Path("checkpoint"),
    name: Annotated[Optional[str], typer.Option(help="The run's name; default: that of the script.")] = None,
    every_steps: Annotated[
        Optional[int], typer.Option(min=1, show_default="auto", help="Save after so many batches.")
    ] = None,
    every_minutes: Annotated[Optional[float], typer.Option(min=0.01, help="Save after so many minutes.")] = None,
    keep: Annotated[int, typer.Option(min=1, help="How many checkpoints stay.")] = 2,
    resume: Annotated[
        str, typer.Option(help="auto: continue this run; a checkpoint's prefix; none: start over.")
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --resume none: remove the earlier run's checkpoints.")
    ] = False,
    allow_inexact: Annotated[
        bool,
        typer.Option("--allow-inexact", help="Go on although something differs, or the suite's code is not proven."),
    ] = False,
    auto: Annotated[bool, typer.Option("--auto", help="Take any program, also one that is of no known suite.")] = False,
) -> None:
    """Run a suite's training command, unchanged: the same command, run again, continues it exactly."""
    if _PYTHON.fullmatch(Path(command[0]).name):
        from paddle_resume.environment import environment_as_given

        given = given_arguments()
        arguments, variables = _wrapped(command, given[given.index("wrap") + 1 : len(given) - len(command)])
        try:
            os.execvpe(command[0], arguments, {**environment_as_given(), **variables, VARIABLE: language()})
        except OSError as error:
            raise ConfigError(f"{command[0]} cannot be started: {error.strerror}.") from None
    from paddle_resume.environment import leave_cpu_as_given

    leave_cpu_as_given()
    if not resume:
        raise ConfigError("--resume is empty; give auto, none, or a prefix such as checkpoint/train_step1200.")
    from paddle_resume.suites.wrapped_program import Options, run_wrapped
    from paddle_resume.training.save_schedule import SaveSchedule

    schedule = SaveSchedule(
        every_epochs=None,
        every_steps=every_steps or (None if every_minutes else "auto"),
        every_minutes=every_minutes,
        on_busy="wait" if every_steps else "skip",
        budget=0.01,
        keep=keep,
    )
    run_name = name or _name_of(command)
    run_wrapped(command, Options(save_dir, run_name, schedule, resume, overwrite, allow_inexact, auto))


def _wrapped(command: List[str], options: List[str]) -> Tuple[List[str], Dict[str, str]]:
    """The command line whose Python, or each of whose processes, runs this command; and variables with these options.

    Paddle's launcher would take some of the options for its own.
    """
    launcher = command[1:3] in (["-m", "paddle.distributed.launch"], ["-m", "paddle.distributed.run"])
    if not launcher:
        return [command[0], "-m", "paddle_resume.wrap", *options, *command[1:]], {}
    script = next((place for place, word in enumerate(command) if word.endswith(".py")), None)
    if script is None:
        raise ConfigError("paddle.distributed.launch was given no script: its name ends with .py.")
    program = str(Path(__file__).parents[1] / "wrap.py")
    given = shlex.join(word for word in options if word != "--")
    return [*command[:script], program, *command[script:]], {"PADDLE_RESUME_WRAP": given}


def _name_of(command: List[str]) -> str:
    """The script's name, or the last part of the module's."""
    word = command[1].rpartition(".")[2] if command[0] == "-m" and len(command) > 1 else Path(command[0]).stem
    return re.sub(r"[^A-Za-z0-9_.-]", "-", word) or "train"
