"""Matplotlib without its global state: a figure in this package's style, and its way into a PNG, SVG or PDF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_resume.errors import ConfigError, PaddleResumeError
from paddle_resume.storage.durable_files import explain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which people who see few colors can tell apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_SUFFIXES = (".png", ".svg", ".pdf")
# Without a date, the same figure gives the same file.
_UNDATED: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_STYLE: Any = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e6e6e6",
    "axes.edgecolor": "#999999",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 9,
    "legend.frameon": False,
    "svg.hashsalt": "paddle_resume",  # else the same picture has other names inside each time
}


def check_target(output: str) -> Path:
    """The path of a picture to write, as given with `--output`; raises ConfigError for another format."""
    path = Path(output)
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"--output {output}: expected a name that ends in .png, .svg or .pdf.")
    return path


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, in this package's style; raises PaddleResumeError without Matplotlib."""
    with style():
        from matplotlib.figure import Figure

        return Figure(figsize=(width, height), layout="constrained")


def style() -> Any:
    """A context in which what is drawn has this package's style."""
    try:
        import matplotlib
    except ImportError as error:
        raise PaddleResumeError(
            "Drawing needs Matplotlib, which is not installed here. Install it with pip install matplotlib."
        ) from error
    return matplotlib.rc_context(_STYLE)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as its suffix says; raises SaveError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with style():
            figure.savefig(path, dpi=110, metadata=_UNDATED.get(path.suffix.lower()))
    except OSError as error:
        raise explain(error, path, 1 << 20, key="--output") from error
