"""The commands, their shared options, and how their errors reach a person."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume._version import __version__
from paddle_resume.errors import ConfigError, PaddleResumeError

app = typer.Typer(
    name="paddle-resume",
    help="Train with PaddlePaddle so that an interruption changes nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigPath = Annotated[str, typer.Option("-c", "--config", help="The YAML file of the run.")]
Overrides = Annotated[
    Optional[List[str]],
    typer.Option("-o", "--override", help="Set one key: -o trainer.epochs=5. May be repeated."),
]


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
    from paddle_resume.builders import build_run

    if not resume:
        raise ConfigError("--resume is empty; give auto, none, or a prefix such as checkpoint/mnist_epoch0.")
    if weights_partial and weights is None:
        raise ConfigError("--weights-partial says how to load --weights; give that too.")
    with _ctrl_c():
        run = build_run(loaded, verbosity=0 if quiet else 2 if verbose else 1)
        run.train(resume, allow_inexact, overwrite, weights, weights_partial)


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
    from paddle_resume.builders import evaluate_weights

    with _ctrl_c():
        for name, value in evaluate_weights(loaded, weights, split).items():
            print(f"{split}/{name}: {value:.6g}")


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
    from paddle_resume.generation import generate_text

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
) -> None:
    """Run your config twice, once killed again and again, and compare everything bit for bit."""
    _import_paddle()
    from paddle_resume.testing.prove import prove_config

    with _ctrl_c():
        raise typer.Exit(prove_config(config, override or [], kills=kills, steps=steps, seed=seed))


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run one command and end the process: 0 done, 1 a proof failed, 2 an error, 130 and 143 interrupted."""
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


def _import_paddle() -> None:
    """Import Paddle without its advice on settings that this package has chosen on purpose."""
    warnings.filterwarnings("ignore", message="No ccache found")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        import paddle  # noqa: F401
    for line in said.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print(line, file=sys.stderr)
