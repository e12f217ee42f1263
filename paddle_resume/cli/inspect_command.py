"""The command that looks into a model: its layers, and on request their values."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
from typing import List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import WEIGHTS, ConfigPath, Overrides, TrustConfig
from paddle_resume.cli.paddle_import import import_paddle


def inspect(
    config: ConfigPath,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    values: Annotated[
        bool, typer.Option("--values", help="Also where weights and outputs lie, and what looks wrong.")
    ] = False,
    weights: Annotated[Optional[str], typer.Option(help=f"With --values: {WEIGHTS}")] = None,
    channel: Annotated[
        Optional[str], typer.Option(help="With --values: LAYER or LAYER:INDEX to print; else one is drawn.")
    ] = None,
    shape: Annotated[
        Optional[List[str]],
        typer.Option(help="Random float32 input of this shape, such as 1,28,28, in place of data. May be repeated."),
    ] = None,
) -> None:
    """Print a model's layers: shapes, parameters, and on request their values."""
    from paddle_resume.config import load_config

    loaded = load_config(config, override or [])
    import_paddle()
    from paddle_resume.inspection.model_inspection import inspect_config

    inspect_config(loaded, values=values, weights=weights, channel=channel, shapes=shape or [])
