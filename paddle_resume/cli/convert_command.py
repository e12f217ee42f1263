"""The command that brings weights in from torch and safetensors, and out as safetensors."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
from enum import Enum
from typing import Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import Json, Overrides, TrustConfig
from paddle_resume.cli.paddle_import import import_paddle
from paddle_resume.errors import ConfigError


class LayoutName(str, Enum):
    """Whose names and order of axes a safetensors file has."""

    torch = "torch"
    paddle = "paddle"


def convert(
    source: Annotated[
        str, typer.Argument(help="A .pt, .pth, .bin, .ckpt, .safetensors or .pdparams file, or a checkpoint's prefix.")
    ],
    config: Annotated[
        Optional[str], typer.Option("-c", "--config", help="The YAML file whose model the weights are for.")
    ] = None,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    output: Annotated[
        Optional[str],
        typer.Option("--output", help="The .pdparams or .safetensors file to write; none with --dry-run."),
    ] = None,
    name_map: Annotated[
        Optional[str], typer.Option("--map", help="A YAML file: pattern of names in the file -> name in the model.")
    ] = None,
    key: Annotated[
        Optional[str], typer.Option(help="Where in a training dictionary the weights are, such as state_dict.")
    ] = None,
    layout: Annotated[
        Optional[LayoutName], typer.Option("--from", help="Whose layout a safetensors file has that does not say so.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what fits, although some of it is missing or left over.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")] = False,
    json: Json = False,
) -> None:
    """Bring a torch state_dict into a Paddle model; change between .pdparams and .safetensors, bit for bit."""
    from paddle_resume.config import load_config

    if (output is None) != dry_run:
        raise ConfigError("convert writes a file: give --output FILE, such as weights.pdparams, or --dry-run and none.")
    if config is None and override:
        raise ConfigError("-o changes a config; leave it out, or give -c as well.")
    loaded = load_config(config, override or []) if config is not None else None
    import_paddle(quietly=True)
    from paddle_resume.convert.convert_file import convert_file

    convert_file(
        source,
        output,
        loaded,
        name_map=name_map,
        key=key,
        layout=None if layout is None else layout.value,
        partial=partial,
        as_json=json,
    )
