"""What all commands of `paddle-resume` have in common: `--lang`, and what a misplaced `-o` and Ctrl-C come to."""

from __future__ import annotations

import copy
import sys
from typing import Any, List, Optional

import typer
from typer.core import TyperCommand, TyperGroup

from paddle_resume.cli.spoken_help import (
    choose_language_of,
    said_option,
    say_help,
    say_usage,
    usage_errors_shown,
    without_language,
)
from paddle_resume.errors import ConfigError


class _Spoken:
    """Has the help of a command, or of the program, in the language that was chosen."""

    def get_usage(self, ctx: Any) -> str:
        return say_usage(super().get_usage(ctx))  # type: ignore[misc]

    def get_help_option(self, ctx: Any) -> Any:
        return said_option(super().get_help_option(ctx))  # type: ignore[misc]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        say_help(self)
        super().format_help(ctx, formatter)  # type: ignore[misc]


class Program(_Spoken, TyperGroup):
    """The program: `--lang` is an option of its own and of each command."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        lang = copy.copy(next(one for one in self.params if "--lang" in one.opts))
        lang.expose_value = False  # It has done its work when the command begins.
        for command in self.commands.values():
            command.params.append(lang)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with usage_errors_shown():
            return super().make_context(*arguments, **options)

    def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
        choose_language_of(args, interspersed=False)
        self._help_alone(ctx, args)
        return super().parse_args(ctx, args)

    def _help_alone(self, ctx: Any, args: List[str]) -> None:
        """Answer a line that asks for nothing but help; on the way through all options Typer would load Pydantic."""
        *names, last = without_language(args) or [""]
        command = self.get_command(ctx, names[0]) if names else self
        if last not in ctx.help_option_names or len(names) > 1 or command is None:
            return
        choose_language_of(args, interspersed=True)
        settings = {} if command is self else command.context_settings
        context = ctx if command is self else type(ctx)(command, info_name=names[0], parent=ctx, **settings)
        print(command.get_help(context))
        ctx.exit()

    def invoke(self, ctx: Any) -> Any:
        with usage_errors_shown():
            return super().invoke(ctx)


class Command(_Spoken, TyperCommand):
    """A command that ends with 130 on Ctrl-C, and answers an `-o` that it does not have with one sentence."""

    def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
        given = list(args)
        choose_language_of(args, interspersed=self.allow_interspersed_args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # By its attribute: which class it is depends on Typer's version, and on its own copy of click.
            if getattr(error, "option_name", None) != "-o" or _has(self, "-o"):
                raise
            value = _value_of_override(given)
            cure = f"; for a path write --output {value}" if _has(self, "--output") and "=" not in value else ""
            raise ConfigError(f"-o sets a key of a config, and {self.name} reads none{cure}.") from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)  # As shells expect; Typer would say 1.


def check_overrides(ctx: typer.Context, overrides: Optional[List[str]]) -> Optional[List[str]]:
    """The value of `-o`, if each is a key with a value; a command that writes a file names `--output` for a path."""
    path = next((text for text in overrides or [] if "=" not in text), None)
    if path is not None and _has(ctx.command, "--output"):
        raise ConfigError(f"-o sets a key of the config, as in -o run.name=digits; for a path write --output {path}.")
    return overrides


def trust_if(wanted: bool) -> bool:
    """Carry out `--trust-config`, for this process and those that it starts: ranks, lives of a proof, loaders."""
    if wanted:
        from paddle_resume.config.trust import trust_everything

        trust_everything()
    return wanted


def _has(command: Any, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


def _value_of_override(given: List[str]) -> str:
    """What follows `-o`, in the same word or the next one."""
    place = next(place for place, word in enumerate(given) if word.startswith("-o"))
    return next(filter(None, [given[place][2:], *given[place + 1 :]]), "PATH")
