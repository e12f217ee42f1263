"""The commands around a set-up: examine the machine, show the keys of a config and the configs that are shipped."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import contextlib
from pathlib import Path
from typing import Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import Json
from paddle_resume.cli.paddle_import import import_paddle
from paddle_resume.errors import ConfigError


def doctor(
    folder: Annotated[
        str, typer.Argument(metavar="[DIR]", help="Where checkpoints are to lie; its disk is measured.")
    ] = "checkpoint",
    json: Json = False,
) -> None:
    """Look at Paddle, the machine and the disk, and say what to do; ends with 1 if a run would not work."""
    from paddle_resume.toolbox.doctor import examine
    from paddle_resume.toolbox.doctor_check import PROBLEM
    from paddle_resume.toolbox.printing import ToolboxPrinter, as_json

    with contextlib.suppress(Exception):  # What keeps Paddle from being imported is what it is to tell.
        import_paddle(quietly=True)
    checks = examine(Path(folder))
    made = list(checks) if json else ToolboxPrinter().checks(checks)
    if json:
        print(as_json(made))
    raise typer.Exit(int(any(check.status == PROBLEM for check in made)))


def schema(
    reference: Annotated[
        bool, typer.Option("--reference", help="In its place a commented YAML with every key and its default.")
    ] = False,
    page: Annotated[bool, typer.Option("--page", help="In its place a page of Markdown: docs/config.md.")] = False,
) -> None:
    """Print the JSON schema of a config, for editors."""
    from paddle_resume.toolbox.config_page import config_page
    from paddle_resume.toolbox.json_schema import json_schema
    from paddle_resume.toolbox.printing import as_json
    from paddle_resume.toolbox.reference_config import reference_yaml

    if reference and page:
        raise ConfigError("--reference and --page exclude each other; give one of them.")
    print(reference_yaml() if reference else config_page() if page else as_json(json_schema()) + "\n", end="")


def configs(
    name: Annotated[
        Optional[str], typer.Argument(metavar="[NAME]", help="The one to print, as a file to begin with.")
    ] = None,
    json: Json = False,
) -> None:
    """List the configs that come with the package; `-c NAME` trains one. With a name, print that file."""
    from paddle_resume.config.shipped import find_shipped, shipped_configs
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found

    if name is None:
        print_found(shipped_configs(), json, ToolboxPrinter().configs)
    else:
        print(find_shipped(name).read_text(encoding="utf-8"), end="")
