"""The command that makes plain files of a sharded checkpoint."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
from typing import Optional

import typer
from rich.console import Console
from typing_extensions import Annotated

from paddle_resume.cli.app import _ctrl_c, app


@app.command(rich_help_panel="Checkpoints")
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

    with _ctrl_c():
        with Console(stderr=True).status("Checking and merging"):
            written = merge_shards(checkpoint, output)
        for path in written:
            print(f"Wrote {path}.")
