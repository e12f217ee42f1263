"""The commands of the toolbox: for checkpoints that are there, for the machine, and for the keys of a config."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import contextlib
from pathlib import Path
from typing import Any, List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.app import _ctrl_c, _import_paddle, app
from paddle_resume.errors import CheckpointError, ConfigError

_CHECKPOINTS, _SET_UP = "Checkpoints", "Set-up"
_CHECKPOINT = "A checkpoint's prefix or one of its files, or any .pdparams file."
Folder = Annotated[str, typer.Argument(metavar="DIR", help="The folder of the checkpoints (run.save_dir).")]
Checkpoint = Annotated[str, typer.Argument(metavar="PREFIX", help=_CHECKPOINT)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
All = Annotated[bool, typer.Option("--all", help="Show every line of long tables.")]
Output = Annotated[str, typer.Option("--output", help="The .pdparams file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over the output if it is there.")]


@app.command("list", rich_help_panel=_CHECKPOINTS)
def list_checkpoints(
    folder: Folder,
    verify: Annotated[
        bool, typer.Option("--verify", help="Match every digest; else only sizes are looked at.")
    ] = False,
    json: Json = False,
) -> None:
    """List the checkpoints of a folder; ends with 1 if one is damaged."""
    from paddle_resume.toolbox.byte_progress import byte_bar, unheard
    from paddle_resume.toolbox.checkpoint_source import folder_at
    from paddle_resume.toolbox.listing import DAMAGED, list_checkpoints

    with _ctrl_c():
        path = folder_at(folder)
        with byte_bar("verify", _bytes_in(path)) if verify else contextlib.nullcontext(unheard) as advance:
            listed = list_checkpoints(path, verify=verify, advance=advance)
        _print("checkpoints", listed, json)
        raise typer.Exit(int(any(one.state == DAMAGED for one in listed)))


@app.command(rich_help_panel=_CHECKPOINTS)
def show(
    checkpoint: Checkpoint,
    values: Annotated[bool, typer.Option("--values/--no-values", help="Read the values, for norms.")] = True,
    everything: All = False,
    json: Json = False,
) -> None:
    """Show what a checkpoint holds: record, tensors with their norms, lineage."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import open_checkpoint
    from paddle_resume.toolbox.show import describe

    with _ctrl_c():
        opened = open_checkpoint(checkpoint)
        with byte_bar("read", opened.size) as advance:
            shown = describe(opened, values=values, advance=advance)
        _print("checkpoint", shown, json, everything)


@app.command(rich_help_panel=_CHECKPOINTS)
def verify(
    path: Annotated[str, typer.Argument(metavar="PREFIX|DIR", help="A checkpoint, or a folder of checkpoints.")],
    json: Json = False,
) -> None:
    """Match every digest, and see whether the files belong together; ends with 1 if something is wrong."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.verify import verify, verify_folder

    with _ctrl_c():
        folder = Path(path)
        with byte_bar("verify", _bytes_in(folder if folder.is_dir() else folder.parent)) as advance:
            results = verify_folder(folder, advance) if folder.is_dir() else [verify(path, advance)]
        _print("verified", results, json)
        raise typer.Exit(int(not all(one.good for one in results)))


@app.command(rich_help_panel=_CHECKPOINTS)
def diff(
    then: Annotated[str, typer.Argument(metavar="A", help=_CHECKPOINT)],
    now: Annotated[str, typer.Argument(metavar="B", help=_CHECKPOINT)],
    everything: All = False,
    json: Json = False,
) -> None:
    """Tell where two checkpoints differ; ends with 0 if they are the same, with 1 if not."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import open_checkpoint
    from paddle_resume.toolbox.diff import compare

    with _ctrl_c():
        first, second = open_checkpoint(then), open_checkpoint(now)
        with byte_bar("compare", first.size) as advance:
            found = compare(first, second, advance)
        _print("differences", found, json, everything)
        raise typer.Exit(int(not found.same))


@app.command(rich_help_panel=_CHECKPOINTS)
def average(
    checkpoints: Annotated[List[str], typer.Argument(metavar="PREFIX...", help=f"Two or more. {_CHECKPOINT}")],
    output: Output,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write the mean of several checkpoints' weights as a plain .pdparams."""
    from paddle_resume.toolbox.average import average
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import WEIGHTS, file_of, open_checkpoint
    from paddle_resume.toolbox.weights_file import checked_output

    with _ctrl_c():
        target = checked_output(output, overwrite)
        opened = [open_checkpoint(text) for text in checkpoints]
        total = sum(tensor.size for each in opened for tensor in file_of(each, WEIGHTS).tensors.values())
        with byte_bar("average", total) as advance:
            done = average(opened, target, advance)
        _print("averaged", done, json)


@app.command(rich_help_panel=_CHECKPOINTS)
def strip(
    checkpoint: Checkpoint,
    output: Output,
    ema: Annotated[bool, typer.Option("--ema", help="The moving average (.pdema) in place of the weights.")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a checkpoint's weights alone as a plain .pdparams."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import open_checkpoint
    from paddle_resume.toolbox.strip import strip
    from paddle_resume.toolbox.weights_file import checked_output

    with _ctrl_c():
        target, opened = checked_output(output, overwrite), open_checkpoint(checkpoint)
        with byte_bar("strip", opened.size) as advance:
            done = strip(opened, target, average=ema, advance=advance)
        _print("stripped", done, json)


@app.command(rich_help_panel=_CHECKPOINTS)
def prune(
    folder: Folder,
    keep: Annotated[int, typer.Option(min=1, help="How many step checkpoints of each run stay: the newest.")],
    keep_epochs: Annotated[
        Optional[int], typer.Option(min=1, help="How many epoch checkpoints stay; all if not given.")
    ] = None,
    name: Annotated[Optional[str], typer.Option(help="Only this run (run.name).")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; else only tell.")] = False,
    json: Json = False,
) -> None:
    """Tell which old checkpoints would go, and with --yes remove them; the best and a last good one stay."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import folder_at
    from paddle_resume.toolbox.prune import plan, prune

    with _ctrl_c():
        path = folder_at(folder)
        with byte_bar("verify", _bytes_in(path)) as advance:
            lines = (prune if yes else plan)(path, keep, keep_epochs, name, advance)
        if json:
            _print("pruned", {"removed": yes, "checkpoints": lines}, json)
        else:
            _print("pruned", lines, json, yes)


@app.command(rich_help_panel=_CHECKPOINTS)
def recover(
    path: Annotated[str, typer.Argument(metavar="DIR|PREFIX", help="A folder, or a damaged checkpoint in it.")],
    yes: Annotated[bool, typer.Option("--yes", help="With a folder: complete what only lacks its renames.")] = False,
    output: Annotated[
        Optional[str], typer.Option("--output", help="With a checkpoint: the .pdparams for its undamaged weights.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Tell what can be saved from a broken folder, or save the undamaged weights of one checkpoint."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.recover import survey, tidy
    from paddle_resume.toolbox.salvage import salvage
    from paddle_resume.toolbox.weights_file import checked_output

    with _ctrl_c():
        folder = Path(path)
        if folder.is_dir():
            if output is not None:
                raise CheckpointError("--output takes the weights of one checkpoint; name it by its prefix.")
            with byte_bar("verify", _bytes_in(folder)) as advance:
                found = tidy(folder, advance) if yes else survey(folder, advance)
            _print("recovered", found, json)
            raise typer.Exit(int(bool(found.damaged) or not found.newest_whole))
        if output is None:
            raise CheckpointError(
                f"{path} is no folder; for the undamaged weights of a checkpoint add --output FILE.pdparams, to see "
                "what is wrong with it use `paddle-resume verify`."
            )
        if yes:
            raise CheckpointError("--yes completes what lies in a folder; with a checkpoint leave it out.")
        saved = salvage(path, checked_output(output, overwrite))
        _print("salvaged", saved, json)
        raise typer.Exit(int(bool(saved.lost)))


@app.command(rich_help_panel=_SET_UP)
def doctor(
    folder: Annotated[
        str, typer.Argument(metavar="[DIR]", help="Where checkpoints are to lie; its disk is measured.")
    ] = "checkpoint",
    json: Json = False,
) -> None:
    """Look at Paddle, the machine and the disk, and say what to do; ends with 1 if a run would not work."""
    from paddle_resume.toolbox.doctor import examine
    from paddle_resume.toolbox.doctor_check import PROBLEM
    from paddle_resume.toolbox.printing import ToolboxPrinter

    with _ctrl_c():
        with contextlib.suppress(Exception):  # What keeps Paddle from being imported is what it is to tell.
            _import_paddle(quietly=True)
        checks = examine(Path(folder))
        made = list(checks) if json else ToolboxPrinter().checks(checks)
        if json:
            _print("checks", made, json)
        raise typer.Exit(int(any(check.status == PROBLEM for check in made)))


@app.command(rich_help_panel=_SET_UP)
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


@app.command(rich_help_panel=_SET_UP)
def configs(
    name: Annotated[
        Optional[str], typer.Argument(metavar="[NAME]", help="The one to print, as a file to begin with.")
    ] = None,
    json: Json = False,
) -> None:
    """List the configs that come with the package; `-c NAME` trains one. With a name, print that file."""
    from paddle_resume.config.shipped import find_shipped, shipped_configs

    if name is None:
        _print("configs", shipped_configs(), json)
    else:
        print(find_shipped(name).read_text(encoding="utf-8"), end="")


def _print(what: str, found: Any, json: bool, *options: Any) -> None:
    """Print what a command found with the printer's method `what`, or as JSON."""
    from paddle_resume.toolbox.printing import ToolboxPrinter, as_json

    if json:
        print(as_json(found))
    else:
        getattr(ToolboxPrinter(), what)(found, *options)


def _bytes_in(folder: Path) -> int:
    """About how much there is to read."""
    return sum(path.stat().st_size for path in folder.glob("*.pd*") if path.is_file()) if folder.is_dir() else 0
