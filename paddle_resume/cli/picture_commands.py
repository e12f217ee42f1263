"""The commands that draw: the curves of runs, a learning rate beforehand, the images that a model gets wrong."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
from pathlib import Path
from typing import List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import ConfigPath, Overrides, Picture, Split, TrustConfig, Weights
from paddle_resume.cli.paddle_import import import_paddle
from paddle_resume.translations import shown


def plot(
    runs: Annotated[List[str], typer.Argument(metavar="RUN...", help="The folders of the runs' logs: log/mnist.")],
    output: Picture = "curves.png",
    save_dir: Annotated[str, typer.Option(help="The folder of the checkpoints, which tell of resumes.")] = "checkpoint",
) -> None:
    """Draw the curves of one run, or of several over each other."""
    from paddle_resume.pictures.curves import draw_curves
    from paddle_resume.pictures.figure import check_target, save_figure
    from paddle_resume.pictures.history import read_history

    target = check_target(output)
    save_figure(draw_curves([read_history(Path(run), Path(save_dir)) for run in runs]), target)
    print(shown(f"Wrote {target}."))


def plot_lr(
    config: ConfigPath,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    output: Picture = "lr.png",
    epochs: Annotated[Optional[int], typer.Option(help="Draw this many epochs in place of trainer.epochs.")] = None,
) -> None:
    """Draw the learning rate of the whole run before it is trained."""
    from paddle_resume.config import load_config
    from paddle_resume.pictures.figure import check_target, save_figure

    target = check_target(output)
    more = [f"trainer.epochs={epochs}"] if epochs is not None else []
    loaded = load_config(config, [*(override or []), *more])
    import_paddle()
    from paddle_resume.pictures.lr_preview import draw_rates, preview_rates

    preview = preview_rates(loaded)
    print(shown(preview.text()))
    save_figure(draw_rates(preview), target)
    print(shown(f"Wrote {target}."))


def wrong(
    config: ConfigPath,
    weights: Weights,
    override: Overrides = None,
    trust_config: TrustConfig = False,
    count: Annotated[int, typer.Option(help="How many to show: the most confident.")] = 36,
    split: Split = "test",
    output: Picture = "wrong.png",
) -> None:
    """Draw the images that a checkpoint's weights classify wrongly."""
    from paddle_resume.config import load_config
    from paddle_resume.pictures.figure import check_target, save_figure, style

    loaded, target = load_config(config, override or []), check_target(output)
    style()  # Without Matplotlib it says so at once, and not after all images.
    import_paddle()
    from paddle_resume.pictures.misclassified import class_names, draw_misclassified, find_misclassified

    found = find_misclassified(loaded, weights, split, count)
    print(shown(f"{found.wrong:,} of {found.total:,} {split} images are classified wrongly."))
    if not found.shown:
        return
    title = f"{loaded.run.name}, {split}: {found.wrong:,} of {found.total:,} wrong; the most confident"
    save_figure(draw_misclassified(found, class_names(loaded), title), target)
    print(shown(f"Wrote {target}, the {len(found.shown)} of them that the model was surest of."))
