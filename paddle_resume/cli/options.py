"""The options that several commands share, each with one meaning."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
from typing import List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.command import check_overrides, trust_if

WEIGHTS = "A checkpoint's prefix, or a .pdparams file."

ConfigPath = Annotated[str, typer.Option("-c", "--config", help="The YAML file of the run, or a name of `configs`.")]
Overrides = Annotated[
    Optional[List[str]],
    typer.Option(
        "-o",
        "--override",
        metavar="KEY=VALUE",
        callback=check_overrides,
        help="Set one key: -o trainer.epochs=5. May be repeated.",
    ),
]
TrustConfig = Annotated[
    bool,
    typer.Option(
        "--trust-config",
        callback=trust_if,
        help="Let the config use classes of installed packages too: whatever it names is run.",
    ),
]
Weights = Annotated[str, typer.Option("--weights", help=WEIGHTS)]
Split = Annotated[str, typer.Option("--split", help="train, valid or test.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Picture = Annotated[str, typer.Option("--output", help="The picture to write, .png, .svg or .pdf.")]
