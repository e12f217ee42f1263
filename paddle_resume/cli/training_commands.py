"""The commands that train, evaluate, and prove that training is exact."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import os
import sys
from typing import Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import ConfigPath, Overrides, Split, TrustConfig, Weights
from paddle_resume.cli.paddle_import import import_paddle
from paddle_resume.errors import ConfigError
from paddle_resume.translations import shown


def tell_of_config(note: str) -> None:
    """What a person should know of the config; once, of all processes."""
    if os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
        print(shown(f"note: {note}"), file=sys.stderr)


def train(
    config: ConfigPath,
    override: Overrides = None,
    trust_config: TrustConfig = False,
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
    lr_change: Annotated[
        Optional[str],
        typer.Option(
            "--lr-change",
            metavar="WAY",
            help="Resume with another schedule: replan as if it had been there from the start, restart, or hold "
            "the old one at its end.",
        ),
    ] = None,
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
    trial: Annotated[
        bool, typer.Option("--trial", help="Try all of it in seconds, in a temporary folder: steps, save, resume.")
    ] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved config and exit.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only what needs attention.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print every save as well.")] = False,
) -> None:
    """Train, or continue: the command that started a run also continues it."""
    from paddle_resume.config import dump_yaml, load_config

    loaded = load_config(config, override or [], tell_of_config)
    if print_config:
        print(dump_yaml(loaded), end="")
        return
    import_paddle()
    from paddle_resume.builders.run import build_run

    if not resume:
        raise ConfigError("--resume is empty; give auto, none, or a prefix such as checkpoint/mnist_epoch0.")
    if weights_partial and weights is None:
        raise ConfigError("--weights-partial says how to load --weights; give that too.")
    if allow_change and not override:
        raise ConfigError(
            "--allow-change allows the keys given with -o to change; give one, such as optimizer.lr=0.001."
        )
    if trial and (resume != "auto" or overwrite or allow_inexact or allow_change):
        raise ConfigError(
            "--trial works in a folder of its own, where nothing is resumed, overwritten or changed; give it "
            "without these options."
        )
    run = build_run(loaded, verbosity=0 if quiet else 2 if verbose else 1)
    if trial:
        run.trial(weights, weights_partial)
        return
    run.train(resume, allow_inexact, overwrite, weights, weights_partial, override or [], allow_change, lr_change)


def evaluate(
    config: ConfigPath,
    weights: Weights,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    split: Split = "test",
) -> None:
    """Print the metrics of a checkpoint's weights."""
    from paddle_resume.config import load_config

    loaded = load_config(config, override or [])
    import_paddle()
    from paddle_resume.builders.run import evaluate_weights

    for name, value in evaluate_weights(loaded, weights, split).items():
        print(f"{split}/{name}: {value:.6g}")


def prove(
    config: ConfigPath,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    kills: Annotated[
        Optional[int], typer.Option(min=0, show_default="5", help="How often the interrupted run is killed.")
    ] = None,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Stop both runs after this many steps.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses the random moments of the kills, and all else about them.")] = 0,
    stops: Annotated[
        bool, typer.Option("--stops", help="Interrupt it by SIGTERM and SIGINT (Ctrl-C) as well as by SIGKILL.")
    ] = False,
    processes: Annotated[
        Optional[int],
        typer.Option(min=1, help="How many processes train together; default: as many as the config's mesh, or 1."),
    ] = None,
    repeat: Annotated[
        bool,
        typer.Option(
            "--repeat", help="Interrupt nothing: is the run reproducible, and if not, where do two of them part?"
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, all else on stderr.")] = False,
) -> None:
    """Run your config twice, once killed again and again, and compare everything bit for bit."""
    if repeat and (kills is not None or stops):
        raise ConfigError("--repeat compares two runs that nothing interrupts; leave out --kills and --stops.")
    import_paddle()
    if repeat:
        from paddle_resume.testing.prove_repeat import prove_repeat

        raise typer.Exit(prove_repeat(config, override or [], steps=steps, processes=processes, as_json=json))
    from paddle_resume.testing.prove_config import prove_config

    raise typer.Exit(
        prove_config(
            config,
            override or [],
            kills=5 if kills is None else kills,
            steps=steps,
            seed=seed,
            stops=stops,
            processes=processes,
            as_json=json,
        )
    )
