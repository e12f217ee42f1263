"""The commands that use what was trained: export it, classify with it, write text with it."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
from enum import Enum
from typing import List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import ConfigPath, Json, Overrides, TrustConfig, Weights
from paddle_resume.cli.paddle_import import import_paddle
from paddle_resume.errors import ConfigError
from paddle_resume.translations.console import Console


class ExportFormat(str, Enum):
    """The formats of `export`."""

    paddle = "paddle"
    onnx = "onnx"


def export(
    config: ConfigPath,
    weights: Weights,
    output: Annotated[
        Optional[str], typer.Option("--output", help="DIR/NAME of the files; export/<run.name> if not given.")
    ] = None,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    format: Annotated[
        ExportFormat, typer.Option("--format", help="Paddle's inference format, or ONNX through paddle2onnx.")
    ] = ExportFormat.paddle,
) -> None:
    """Write a checkpoint's model in a format that runs without this package, and check what it gives."""
    from paddle_resume.config import load_config

    loaded = load_config(config, override or [])
    import_paddle(quietly=True)
    from paddle_resume.inference.export_model import export_weights
    from paddle_resume.inference.inference_report import print_export

    with Console(stderr=True).status("Exporting, then checking on real samples"):
        exported = export_weights(loaded, weights, output, "onnx" if format is ExportFormat.onnx else "paddle")
    print_export(exported)


def predict(
    paths: Annotated[
        List[str],
        typer.Argument(
            metavar="[EXPORT] IMAGES...", help="The export, unless -c is given; images, folders, IDX files."
        ),
    ],
    config: Annotated[
        Optional[str], typer.Option("-c", "--config", help="In place of an export: the YAML file of the run.")
    ] = None,
    weights: Annotated[Optional[str], typer.Option(help="With -c: a checkpoint's prefix, or a .pdparams file.")] = None,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    invert: Annotated[bool, typer.Option("--invert", help="Exchange black and white first.")] = False,
    labels: Annotated[
        Optional[str], typer.Option(help="An IDX file with the label of each image; prints the accuracy.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Classify images; ends with 1 if some of them, and with 2 if all of them could not be read."""
    from paddle_resume.config import load_config

    if json and csv:
        raise ConfigError("--json and --csv exclude each other; give one of them.")
    if (config is None) != (weights is None):
        raise ConfigError("-c CONFIG and --weights PREFIX go together; or name an export and give neither.")
    if config is None and override:
        raise ConfigError("-o changes a config, and an export has none; leave it out, or give -c and --weights.")
    loaded = load_config(config, override or []) if config is not None else None
    import_paddle(quietly=True)
    from paddle_resume.inference.classify import Form, classify
    from paddle_resume.inference.predict import Classifier

    if loaded is not None and weights is not None:
        classifier = Classifier.from_checkpoint(loaded, weights)
    else:
        classifier = Classifier.from_export(paths.pop(0))
    form: Form = "json" if json else "csv" if csv else "table"
    raise typer.Exit(classify(classifier, paths, invert=invert, labels=labels, batch_size=batch_size, form=form))


def generate(
    config: ConfigPath,
    weights: Weights,
    prompt: Annotated[str, typer.Option(help="What the text begins with.")],
    override: Overrides = None,
    trust_config: TrustConfig = False,
    length: Annotated[int, typer.Option(min=1, help="How many tokens to write.")] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same text.")] = 0,
    temperature: Annotated[float, typer.Option(help="Below 1 prefers likely tokens; 0 takes the likeliest.")] = 1.0,
) -> None:
    """Write text with a language model's weights."""
    from paddle_resume.config import load_config

    loaded = load_config(config, override or [])
    import_paddle()
    from paddle_resume.inference.text_generation import generate_text

    pieces = generate_text(loaded, weights, prompt, length, seed, temperature)
    first = next(pieces, "")  # Whatever is wrong comes out before the prompt is printed.
    print(prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
