"""The commands for checkpoints that are there: look at them, compare them, take weights out, clear up."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import contextlib
from pathlib import Path
from typing import Any, List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import Json
from paddle_resume.errors import CheckpointError
from paddle_resume.translations import shown
from paddle_resume.translations.console import Console

_CHECKPOINT = "A checkpoint's prefix or one of its files, or any .pdparams file."
Folder = Annotated[str, typer.Argument(metavar="DIR", help="The folder of the checkpoints (run.save_dir).")]
Checkpoint = Annotated[str, typer.Argument(metavar="PREFIX", help=_CHECKPOINT)]
All = Annotated[bool, typer.Option("--all", help="Show every line of long tables.")]
WeightsFile = Annotated[str, typer.Option("--output", help="The .pdparams file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over the output if it is there.")]


def list_checkpoints(
    folder: Folder,
    verify: Annotated[
        bool, typer.Option("--verify", help="Match every digest; else only sizes are looked at.")
    ] = False,
    json: Json = False,
) -> None:
    """List the checkpoints of a folder; ends with 1 if one is damaged."""
    from paddle_resume.toolbox.byte_progress import byte_bar, bytes_in, unheard
    from paddle_resume.toolbox.checkpoint_source import folder_at
    from paddle_resume.toolbox.listing import DAMAGED, list_checkpoints
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found

    path = folder_at(folder)
    with byte_bar("verify", bytes_in(path)) if verify else contextlib.nullcontext(unheard) as advance:
        listed = list_checkpoints(path, verify=verify, advance=advance)
    print_found(listed, json, ToolboxPrinter().checkpoints)
    raise typer.Exit(int(any(one.state == DAMAGED for one in listed)))


def show(
    checkpoint: Checkpoint,
    values: Annotated[bool, typer.Option("--values/--no-values", help="Read the values, for norms.")] = True,
    everything: All = False,
    json: Json = False,
) -> None:
    """Show what a checkpoint holds: record, tensors with their norms, lineage."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import read_steadily
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found
    from paddle_resume.toolbox.show import describe

    def look(opened: Any) -> Any:
        with byte_bar("read", opened[0].size) as advance:
            return describe(opened[0], values=values, advance=advance)

    print_found(read_steadily([checkpoint], look), json, lambda found: ToolboxPrinter().checkpoint(found, everything))


def verify(
    path: Annotated[str, typer.Argument(metavar="PREFIX|DIR", help="A checkpoint, or a folder of checkpoints.")],
    json: Json = False,
) -> None:
    """Match every digest, and see whether the files belong together; ends with 1 if something is wrong."""
    from paddle_resume.toolbox.byte_progress import byte_bar, bytes_in
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found
    from paddle_resume.toolbox.verification import verify, verify_folder

    folder = Path(path)
    with byte_bar("verify", bytes_in(folder if folder.is_dir() else folder.parent)) as advance:
        results = verify_folder(folder, advance) if folder.is_dir() else [verify(path, advance)]
    print_found(results, json, ToolboxPrinter().verified)
    raise typer.Exit(int(not all(one.good for one in results)))


def diff(
    then: Annotated[str, typer.Argument(metavar="A", help=_CHECKPOINT)],
    now: Annotated[str, typer.Argument(metavar="B", help=_CHECKPOINT)],
    everything: All = False,
    json: Json = False,
) -> None:
    """Tell where two checkpoints differ; ends with 0 if they are the same, with 1 if not."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import read_steadily
    from paddle_resume.toolbox.diff import compare
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found

    def look(opened: Any) -> Any:
        with byte_bar("compare", opened[0].size) as advance:
            return compare(opened[0], opened[1], advance)

    found = read_steadily([then, now], look)
    print_found(found, json, lambda differences: ToolboxPrinter().differences(differences, everything))
    raise typer.Exit(int(not found.same))


def average(
    checkpoints: Annotated[List[str], typer.Argument(metavar="PREFIX...", help=f"Two or more. {_CHECKPOINT}")],
    output: WeightsFile,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write the mean of several checkpoints' weights as a plain .pdparams."""
    from paddle_resume.toolbox.averaging import average
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import WEIGHTS, file_of, read_steadily
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found
    from paddle_resume.toolbox.weights_file import checked_output

    target = checked_output(output, overwrite)

    def look(opened: Any) -> Any:
        total = sum(tensor.size for each in opened for tensor in file_of(each, WEIGHTS).tensors.values())
        with byte_bar("average", total) as advance:
            return average(opened, target, advance)

    done = read_steadily(checkpoints, look)
    print_found(done, json, ToolboxPrinter().averaged)


def strip(
    checkpoint: Checkpoint,
    output: WeightsFile,
    ema: Annotated[bool, typer.Option("--ema", help="The moving average (.pdema) in place of the weights.")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a checkpoint's weights alone as a plain .pdparams."""
    from paddle_resume.toolbox.byte_progress import byte_bar
    from paddle_resume.toolbox.checkpoint_source import read_steadily
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found
    from paddle_resume.toolbox.stripping import strip
    from paddle_resume.toolbox.weights_file import checked_output

    target = checked_output(output, overwrite)

    def look(opened: Any) -> Any:
        with byte_bar("strip", opened[0].size) as advance:
            return strip(opened[0], target, average=ema, advance=advance)

    done = read_steadily([checkpoint], look)
    print_found(done, json, ToolboxPrinter().stripped)


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
    from paddle_resume.toolbox.byte_progress import byte_bar, bytes_in
    from paddle_resume.toolbox.checkpoint_source import folder_at
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found
    from paddle_resume.toolbox.pruning import plan, prune

    path = folder_at(folder)
    with byte_bar("verify", bytes_in(path)) as advance:
        lines = (prune if yes else plan)(path, keep, keep_epochs, name, advance)
    found = {"removed": yes, "checkpoints": lines}
    print_found(found, json, lambda _: ToolboxPrinter().pruned(lines, yes))


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
    from paddle_resume.toolbox.byte_progress import byte_bar, bytes_in
    from paddle_resume.toolbox.printing import ToolboxPrinter, print_found
    from paddle_resume.toolbox.recover import survey, tidy
    from paddle_resume.toolbox.salvaging import salvage
    from paddle_resume.toolbox.weights_file import checked_output

    folder = Path(path)
    if folder.is_dir():
        if output is not None:
            raise CheckpointError("--output takes the weights of one checkpoint; name it by its prefix.")
        with byte_bar("verify", bytes_in(folder)) as advance:
            found = tidy(folder, advance) if yes else survey(folder, advance)
        print_found(found, json, ToolboxPrinter().recovered)
        raise typer.Exit(int(bool(found.damaged) or not found.newest_whole))
    if output is None:
        raise CheckpointError(
            f"{path} is no folder; for the undamaged weights of a checkpoint add --output FILE.pdparams, to see "
            "what is wrong with it use `paddle-resume verify`."
        )
    if yes:
        raise CheckpointError("--yes completes what lies in a folder; with a checkpoint leave it out.")
    saved = salvage(path, checked_output(output, overwrite))
    print_found(saved, json, ToolboxPrinter().salvaged)
    raise typer.Exit(int(bool(saved.lost)))


def merge(
    checkpoint: Annotated[
        str, typer.Argument(metavar="PREFIX", help="The checkpoint, such as checkpoint/mnist_epoch2.")
    ],
    output: Annotated[
        Optional[str], typer.Option("--output", help="The prefix of the files; PREFIX_merged if not given.")
    ] = None,
) -> None:
    """Write the .pdparams and .pdopt of a sharded checkpoint, for stock Paddle; needs one process and no Paddle."""
    from paddle_resume.checkpoint.merge_shards import merge_shards

    with Console(stderr=True).status("Checking and merging"):
        written = merge_shards(checkpoint, output)
    for path in written:
        print(shown(f"Wrote {path}."))
