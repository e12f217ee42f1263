"""The language of the command line: `--lang`, and help and usage errors in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

from paddle_resume.errors import ConfigError
from paddle_resume.translations import heading, language, set_language, shown


def choose_language(name: Optional[str]) -> Optional[str]:
    """The value of `--lang`, which counts from here on."""
    if name is not None:
        try:
            set_language(name)
        except ConfigError as error:
            raise ConfigError(f"--lang: {error}") from None
    return name


def choose_language_of(args: Sequence[str], interspersed: bool) -> None:
    """Choose before anything is parsed, so that a `--help` or a mistake left of `--lang` is told in that language too.

    Without `interspersed`, what follows the first word that is no option belongs to the program that is run.
    """
    for place, word in enumerate(args):
        if word == "--" or not (interspersed or word.startswith("-") or args[place - 1 : place] == ["--lang"]):
            return
        if word == "--lang" and place + 1 < len(args):
            choose_language(args[place + 1])
        elif word.startswith("--lang="):
            choose_language(word[len("--lang=") :])


def without_language(args: Sequence[str]) -> list[str]:
    """The words without `--lang` and its value."""
    kept = [word for word in args if not word.startswith("--lang=")]
    while "--lang" in kept:
        place = kept.index("--lang")
        del kept[place : place + 2]
    return kept


def say_usage(usage: str) -> str:
    """`Usage: paddle-resume ...`"""
    return usage if language() == "en" else usage.replace("Usage:", f"{heading('Usage')}:", 1)


def say_help(command: Any) -> None:
    """Put the help of a command, its options and the commands below it into the language; it is printed once."""
    if language() == "en":
        return
    _say_frames()
    below = getattr(command, "commands", {}).values()
    for one in (command, *below):
        for name in ("help", "short_help"):
            if getattr(one, name, None):
                setattr(one, name, shown(getattr(one, name)))
        if isinstance(getattr(one, "rich_help_panel", None), str):
            one.rich_help_panel = heading(one.rich_help_panel)
    if command.epilog:
        examples = command.epilog.startswith("Examples:")
        said = f"{heading('Examples')}:"
        command.epilog = command.epilog.replace("Examples:", said, 1) if examples else shown(command.epilog)
    for parameter in command.params:
        said_option(parameter)


def said_option(option: Any) -> Any:
    """The option with its help in the language."""
    if language() != "en" and getattr(option, "help", None):
        option.help = shown(option.help)
    return option


@contextmanager
def usage_errors_shown() -> Iterator[None]:
    """Click's errors about the command line, in the language."""
    try:
        yield
    except Exception as error:
        # By its method: which class it is depends on Typer's version, and on its own copy of click.
        say = getattr(error, "format_message", None)
        if say is not None and language() != "en":
            _say_frames()
            _say_hint()
            error.format_message = lambda: shown(say())  # type: ignore[attr-defined]
        raise


def _say_hint() -> None:
    """Apart from the frames, since it is no plain text, and a `--help` is not to wait for the index of messages."""
    from typer import rich_utils

    if hasattr(rich_utils, "RICH_HELP"):
        rich_utils.RICH_HELP = shown("Try [blue]'{command_path} {help_option}'[/] for help.")


def _say_frames() -> None:
    """What Typer writes around help and errors, as far as this version of it has these names."""
    from typer import rich_utils

    words = {
        "ARGUMENTS_PANEL_TITLE": heading("Arguments"),
        "OPTIONS_PANEL_TITLE": heading("Options"),
        "COMMANDS_PANEL_TITLE": heading("Commands"),
        "ERRORS_PANEL_TITLE": heading("Error"),
        "DEFAULT_STRING": f"[{heading('default')}: {{}}]",
        "REQUIRED_LONG_STRING": f"[{heading('required')}]",
        "ABORTED_TEXT": heading("Aborted"),
    }
    for name, text in words.items():
        if hasattr(rich_utils, name):
            setattr(rich_utils, name, text)
    make_text = getattr(rich_utils, "_make_rich_text", None)
    if make_text is not None and not hasattr(make_text, "folds"):

        def folding(*arguments: Any, **options: Any) -> Any:
            # Chinese has no spaces to break a line at, and Rich would cut off what does not fit.
            text = make_text(*arguments, **options)
            if hasattr(text, "overflow"):
                text.overflow = "fold"
            return text

        folding.folds = True  # type: ignore[attr-defined]
        rich_utils._make_rich_text = folding
