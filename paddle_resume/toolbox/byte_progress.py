"""A progress bar over bytes, on a terminal only: what a large checkpoint takes to read can be long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paddle_resume.translations import shown
from paddle_resume.translations.console import Console

Advance = Callable[[int], Any]
"""Told the bytes that were just read."""


def unheard(count: int) -> None:
    """Tell nobody."""


def size_of(path: Path) -> int:
    """The bytes of a file; 0 if a training has just removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def bytes_in(folder: Path) -> int:
    """About how much there is to read of the checkpoints in `folder`."""
    return sum(size_of(path) for path in folder.glob("*.pd*") if path.is_file()) if folder.is_dir() else 0


@contextmanager
def byte_bar(text: str, total: int) -> Iterator[Advance]:
    """A bar on stderr that goes away at its end; gives the function that moves it on."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(shown(text), total=total)
        yield lambda count: bar.advance(task, count)
