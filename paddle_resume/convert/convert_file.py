"""The whole of `paddle-resume convert`: read, fit to a model if one is given, report, write."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from paddle import nn

from paddle_resume.config import Config
from paddle_resume.convert.conversion import Conversion, convert_weights
from paddle_resume.convert.conversion_report import print_report, print_written, to_json
from paddle_resume.convert.name_map import read_name_map
from paddle_resume.convert.weight_sources import Layout, Source, read_source
from paddle_resume.convert.writing import check_output, write_weights
from paddle_resume.errors import ConfigError
from paddle_resume.owners.model import ParameterNames, load_weights
from paddle_resume.translations.console import Console


def convert_file(
    source: str,
    output: Optional[str],
    config: Optional[Config] = None,
    *,
    name_map: Optional[str] = None,
    key: Optional[str] = None,
    layout: Optional[Layout] = None,
    partial: bool = False,
    as_json: bool = False,
) -> Conversion:
    """Convert the weights in `source` and write them to `output`; without one, only report.

    With a config they are fitted to its model. Without one the file only changes its format, which is refused for
    torch's weights: which of them are transposed depends on the layers.
    Raises CheckpointError for what cannot be read or does not fit, ConfigError for options that do not go together,
    and SaveError.
    """
    names = read_name_map(name_map) if name_map is not None else None
    status = Console(stderr=True).status
    with status(f"Reading {source}"):
        read = read_source(source, key, layout)
    target = None if output is None else check_output(output, read.path)
    if config is None and (read.layout == "torch" or names is not None or partial):
        what = "weights of torch" if read.layout == "torch" else "a name map or --partial"
        raise ConfigError(
            f"{read.path}: {what} need the model that they are for (its layers tell what to transpose); give -c CONFIG."
        )
    conversion, kind = Conversion(read.arrays), ""
    table = dict(read.names)
    if config is not None:
        from paddle_resume.builders.model import build_model_with

        with status("Fitting the weights to the model"):
            model = build_model_with(config, None)
            conversion, kind = convert_weights(model, read, names), type(model).__name__
        table = ParameterNames(model).state_dict()
    if not as_json:
        print_report(read, conversion, kind)
    refused = bool(conversion.problems) and not partial
    written = target if target is not None and not refused and conversion.arrays else None
    if written is not None:
        with status(f"Writing {written}"):
            size = write_weights(written, conversion.arrays, table, read.metadata)
    if as_json:
        print(to_json(read, conversion, kind, written))
    elif written is not None:
        print_written(written, len(conversion.arrays), size, _forgotten(written, read))
    if refused or not conversion.arrays:
        conversion.check(read, kind)
    return conversion


def load_converted(
    model: nn.Layer,
    source: str,
    *,
    name_map: Optional[str] = None,
    key: Optional[str] = None,
    layout: Optional[Layout] = None,
) -> None:
    """Fill every parameter and buffer of `model` with the weights in `source`, converted as by the command.

    Raises CheckpointError, with nothing changed, for what cannot be read or does not fit, and ConfigError.
    """
    read = read_source(source, key, layout)
    conversion = convert_weights(model, read, read_name_map(name_map) if name_map is not None else None)
    conversion.check(read, type(model).__name__)
    load_weights(model, conversion.arrays, source=str(read.path))


def _forgotten(written: Path, read: Source) -> list[str]:
    return sorted(set(read.metadata) - {"format"}) if written.suffix == ".pdparams" else []
