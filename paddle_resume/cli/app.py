"""The commands, their shared options, and how their errors reach a person."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import List, Optional

import typer
from rich.console import Console
from typing_extensions import Annotated

from paddle_resume._version import __version__
from paddle_resume.cli.command import check_overrides
from paddle_resume.errors import ConfigError, PaddleResumeError

app = typer.Typer(
    name="paddle-resume",
    help="Train with PaddlePaddle so that an interruption changes nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


class ExportFormat(str, Enum):
    """The formats of `export`."""

    paddle = "paddle"
    onnx = "onnx"


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"paddle_resume {__version__}")
        raise typer.Exit


@app.command()
def train(
    config: ConfigPath,
    override: Overrides = None,
    resume: Annotated[
        str, typer.Option(help="auto: continue this run; a checkpoint's prefix; none: start over.")
    ] = "auto",
    allow_inexact: Annotated[
        bool, typer.Option("--allow-inexact", help="Resume although something differs; the lineage says so.")
    ] = False,
    allow_change: Annotated[
        bool,
        typer.Option("--allow-change", help="Resume with other values for the keys given with -o; only for those."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --resume none: remove the earlier run's checkpoints.")
    ] = False,
    weights: Annotated[
        Optional[str],
        typer.Option(
            "--weights", "--pretrained", help="Start a fresh run from a checkpoint's prefix or a .pdparams file."
        ),
    ] = None,
    weights_partial: Annotated[
        bool, typer.Option("--weights-partial", help="With --weights: load what fits the model, and leave the rest.")
    ] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved config and exit.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only what needs attention.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print every save as well.")] = False,
) -> None:
    """Train, or continue: the command that started a run also continues it."""
    from paddle_resume.config import dump_yaml, load_config

    loaded = load_config(config, override or [])
    if print_config:
        print(dump_yaml(loaded), end="")
        return
    _import_paddle()
    from paddle_resume.builders.run import build_run

    if not resume:
        raise ConfigError("--resume is empty; give auto, none, or a prefix such as checkpoint/mnist_epoch0.")
    if weights_partial and weights is None:
        raise ConfigError("--weights-partial says how to load --weights; give that too.")
    if allow_change and not override:
        raise ConfigError(
            "--allow-change allows the keys given with -o to change; give one, such as optimizer.lr=0.001."
        )
    with _ctrl_c():
        run = build_run(loaded, verbosity=0 if quiet else 2 if verbose else 1)
        allowed = (override or []) if allow_change else []
        run.train(resume, allow_inexact, overwrite, weights, weights_partial, allowed)


@app.command("eval")
def evaluate(
    config: ConfigPath,
    weights: Annotated[str, typer.Option(help="A checkpoint's prefix, or a .pdparams file.")],
    override: Overrides = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
) -> None:
    """Print the metrics of a checkpoint's weights."""
    from paddle_resume.config import load_config

    loaded = load_config(config, override or [])
    _import_paddle()
    from paddle_resume.builders.run import evaluate_weights

    with _ctrl_c():
        for name, value in evaluate_weights(loaded, weights, split).items():
            print(f"{split}/{name}: {value:.6g}")


@app.command()
def export(
    config: ConfigPath,
    weights: Annotated[str, typer.Option(help="A checkpoint's prefix, or a .pdparams file.")],
    output: Annotated[
        Optional[str], typer.Option("--output", help="DIR/NAME of the files; export/<run.name> if not given.")
    ] = None,
    override: Overrides = None,
    format: Annotated[
        ExportFormat, typer.Option("--format", help="Paddle's inference format, or ONNX through paddle2onnx.")
    ] = ExportFormat.paddle,
) -> None:
    """Write a checkpoint's model in a format that runs without this package, and check what it gives."""
    from paddle_resume.config import load_config

    loaded = load_config(config, override or [])
    _import_paddle(quietly=True)
    from paddle_resume.inference.export_model import export_weights
    from paddle_resume.inference.inference_report import print_export

    with _ctrl_c():
        with Console(stderr=True).status("Exporting, then checking on real samples"):
            exported = export_weights(loaded, weights, output, "onnx" if format is ExportFormat.onnx else "paddle")
        print_export(exported)


@app.command()
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
    invert: Annotated[bool, typer.Option("--invert", help="Exchange black and white first.")] = False,
    labels: Annotated[
        Optional[str], typer.Option(help="An IDX file with the label of each image; prints the accuracy.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
    _import_paddle(quietly=True)
    from paddle_resume.inference.classify import Form, classify
    from paddle_resume.inference.predict import Classifier

    with _ctrl_c():
        if loaded is not None and weights is not None:
            classifier = Classifier.from_checkpoint(loaded, weights)
        else:
            classifier = Classifier.from_export(paths.pop(0))
        form: Form = "json" if json else "csv" if csv else "table"
        raise typer.Exit(classify(classifier, paths, invert=invert, labels=labels, batch_size=batch_size, form=form))


@app.command()
def generate(
    config: ConfigPath,
    weights: Annotated[str, typer.Option(help="A checkpoint's prefix, or a .pdparams file.")],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")],
    override: Overrides = None,
    length: Annotated[int, typer.Option(min=1, help="How many tokens to write.")] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same text.")] = 0,
    temperature: Annotated[float, typer.Option(help="Below 1 prefers likely tokens; 0 takes the likeliest.")] = 1.0,
) -> None:
    """Write text with a language model's weights."""
    from paddle_resume.config import load_config

    loaded = load_config(config, override or [])
    _import_paddle()
    from paddle_resume.inference.text_generation import generate_text

    with _ctrl_c():
        pieces = generate_text(loaded, weights, prompt, length, seed, temperature)
        first = next(pieces, "")  # Whatever is wrong comes out before the prompt is printed.
        print(prompt + first, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()


@app.command()
def prove(
    config: ConfigPath,
    override: Overrides = None,
    kills: Annotated[int, typer.Option(help="How often the interrupted run is killed.")] = 5,
    steps: Annotated[Optional[int], typer.Option(help="Stop both runs after this many steps.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses the random moments of the kills.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, all else on stderr.")] = False,
) -> None:
    """Run your config twice, once killed again and again, and compare everything bit for bit."""
    _import_paddle()
    from paddle_resume.testing.prove_config import prove_config

    with _ctrl_c():
        raise typer.Exit(prove_config(config, override or [], kills=kills, steps=steps, seed=seed, as_json=json))


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run one command and end the process.

    0 done, 1 a check or a part failed, 2 an error, 3 another process of the run failed, 130 and 143 interrupted.
    """
    try:
        app(args=list(arguments) if arguments is not None else None)
    except PaddleResumeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@contextlib.contextmanager
def _ctrl_c() -> Iterator[None]:
    """End with 130 on Ctrl-C, as shells expect; Typer would say 1."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)


def _import_paddle(*, quietly: bool = False) -> None:
    """Import Paddle without its advice on settings that this package has chosen on purpose.

    `quietly` leaves out the log lines of Paddle's executor too, which only programs made static print.
    """
    if quietly:
        os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        import paddle  # noqa: F401
    for line in said.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print(line, file=sys.stderr)
