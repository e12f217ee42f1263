"""The program: its commands in the order of `--help`, and how their errors reach a person."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import sys
from collections.abc import Sequence
from typing import Any, Callable, Optional

import typer
from typing_extensions import Annotated

from paddle_resume._version import __version__
from paddle_resume.cli import (
    checkpoint_commands,
    convert_command,
    inference_commands,
    inspect_command,
    picture_commands,
    setup_commands,
    supervision_commands,
    training_commands,
    wrap_command,
)
from paddle_resume.cli.command import Command, Program
from paddle_resume.cli.help_examples import examples_of
from paddle_resume.cli.spoken_help import choose_language
from paddle_resume.command_line import called_with, with_command
from paddle_resume.errors import PaddleResumeError
from paddle_resume.translations import heading, shown

# By the panel of `--help` that they are in; None is the first one.
COMMANDS: dict[Optional[str], tuple[tuple[str, Callable[..., Any]], ...]] = {
    None: (
        ("train", training_commands.train),
        ("eval", training_commands.evaluate),
        ("prove", training_commands.prove),
        ("wrap", wrap_command.wrap),
        ("run", supervision_commands.run),
        ("interval", supervision_commands.interval),
        ("export", inference_commands.export),
        ("predict", inference_commands.predict),
        ("generate", inference_commands.generate),
        ("convert", convert_command.convert),
        ("inspect", inspect_command.inspect),
        ("plot", picture_commands.plot),
        ("plot-lr", picture_commands.plot_lr),
        ("wrong", picture_commands.wrong),
    ),
    "Checkpoints": (
        ("list", checkpoint_commands.list_checkpoints),
        ("show", checkpoint_commands.show),
        ("verify", checkpoint_commands.verify),
        ("diff", checkpoint_commands.diff),
        ("average", checkpoint_commands.average),
        ("strip", checkpoint_commands.strip),
        ("prune", checkpoint_commands.prune),
        ("recover", checkpoint_commands.recover),
        ("merge", checkpoint_commands.merge),
    ),
    "Set-up": (
        ("doctor", setup_commands.doctor),
        ("schema", setup_commands.schema),
        ("configs", setup_commands.configs),
    ),
}
# What follows the first word that is no option of these belongs to the command line that they run.
_SETTINGS = {name: {"allow_interspersed_args": False} for name in ("wrap", "run")}

# At the end of the help of the whole program.
EXIT_CODES = (
    "Exit codes: 0 done; 1 the answer is no, or a part failed; 2 an error; 3 another process of the run failed; "
    "130 and 143 interrupted."
)


def build_app() -> typer.Typer:
    """The program with all commands."""
    made = typer.Typer(
        name="paddle-resume",
        cls=Program,
        help="Train with PaddlePaddle so that an interruption changes nothing.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback(invoke_without_command=True)(_options)
    for panel, commands in COMMANDS.items():
        for name, function in commands:
            made.command(
                name,
                cls=Command,
                rich_help_panel=panel,
                epilog=examples_of(name),
                context_settings=_SETTINGS.get(name),
            )(function)
    return made


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run one command and end the process.

    0 done, 1 a check or a part failed, 2 an error, 3 another process of the run failed, 130 and 143 interrupted.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    with called_with(given):
        try:
            app(args=given)
        except PaddleResumeError as error:
            print(f"{heading('error')}: {shown(error)}{_same_command(str(error))}", file=sys.stderr)
            sys.exit(error.exit_code)


def _same_command(text: str) -> str:
    """What comes below an error that asks for the same command again: that command."""
    return with_command(text)[len(text) :].replace("The same command:", shown("The same command:"))


def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    lang: Annotated[
        Optional[str],
        typer.Option(
            "--lang",
            metavar="en|zh",
            is_eager=True,
            callback=choose_language,
            help="Language of messages and help; default: PADDLE_RESUME_LANG, or that of the locale.",
        ),
    ] = None,
) -> None:
    if version:
        print(f"paddle_resume {__version__}")
        raise typer.Exit


app = build_app()
