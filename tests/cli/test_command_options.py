"""The options of the commands: the same on each Python, with one meaning for `-o` and for `--output`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer.main

from paddle_resume.cli import main
from paddle_resume.cli.app import app

LISTED = Path(__file__).with_name("command_options.txt")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
READ_A_CONFIG = [name for name, command in COMMANDS.items() if any("--config" in one.opts for one in command.params)]
WRITE = ["export", "plot", "plot-lr", "wrong", "interval", "convert", "average", "strip", "recover", "merge"]
# What they need beside a path given with -o.
NEEDED = {
    "export": ("-c", "mnist", "--weights", "w"),
    "plot": ("log",),
    "plot-lr": ("-c", "mnist"),
    "wrong": ("-c", "mnist", "--weights", "w"),
    "interval": ("--save-stall", "1s", "--mtbf", "1d", "--step-time", "1s"),
    "convert": ("net.pth", "-c", "mnist"),
    "average": ("a", "b"),
    "strip": ("a",),
    "recover": ("a",),
    "merge": ("a",),
}


def described(parameter: Any) -> str:
    """An option as its flags, an argument as its name; required ones with `!`, those that take several with `...`."""
    text = "/".join(parameter.opts) if parameter.param_type_name == "option" else f"<{parameter.name}>"
    several = parameter.nargs == -1 or getattr(parameter, "multiple", False)
    return text + "!" * parameter.required + "..." * several


def test_every_command_has_the_options_of_the_list() -> None:
    """Typer loses them in silence where it cannot read the annotations, as on Python 3.9 behind `from __future__`."""
    listed = dict(line.split(": ") for line in LISTED.read_text(encoding="utf-8").splitlines())
    found = {name: " ".join(map(described, command.params)) for name, command in COMMANDS.items()}
    assert found == listed
    assert list(found) == list(listed), "the order of --help"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_says_what_it_is_for(name: str) -> None:
    assert [one.name for one in COMMANDS[name].params if not getattr(one, "help", None)] == []


def option(command: str, flag: str) -> Any:
    found = [one for one in COMMANDS[command].params if flag in one.opts]
    assert len(found) <= 1
    return found[0] if found else None


def test_there_are_commands_of_both_kinds() -> None:
    assert {"train", "eval", "prove", "plot-lr", "wrong", "inspect", "convert"} <= set(READ_A_CONFIG) < set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_that_reads_a_config_has_the_override_and_no_other_has_that_flag(name: str) -> None:
    override = option(name, "-o")
    if name in READ_A_CONFIG:
        assert override.opts == ["-o", "--override"] and override.multiple and override.metavar == "KEY=VALUE"
    else:
        assert override is None and option(name, "--override") is None


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_what_is_written_is_named_by_output_alone(name: str) -> None:
    output = option(name, "--output")
    assert (output is not None) == (name in WRITE)
    if output is not None:
        assert output.opts == ["--output"] and output.param_type_name == "option"
    assert not [one.opts for one in COMMANDS[name].params if one is not output and one.name == "output"]


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("given", [("-o", "out.png"), ("-oout.png",)], ids=["two words", "one word"])
def test_a_path_given_with_the_override_is_answered_by_one_sentence_that_names_output(
    name: str, given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, *NEEDED[name], *given])
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == ""
    assert said.err.startswith("error: -o sets a key of ") and said.err.endswith("for a path write --output out.png.\n")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("diff", "-o", "x"), ("doctor", "-o", "x"), ("run", "-o", "x", "--", "y"), ("plot", "l", "-o", "a=b")]
)
def test_where_no_path_can_be_meant_the_sentence_names_no_output(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: -o sets a key of a config, and {arguments[0]} reads none.\n"


def test_another_unknown_option_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["plot", "log", "--colour"])
    assert end.value.code == 2 and "--colour" in capsys.readouterr().err


def test_an_override_without_a_value_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["plot-lr", "-c", "mnist", "-o"])
    assert end.value.code == 2 and "requires an argument" in capsys.readouterr().err
