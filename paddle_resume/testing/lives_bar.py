"""Tells each life of a program as it begins, and on a terminal how many are behind and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from paddle_resume.translations import heading, shown
from paddle_resume.translations.console import Console


@contextmanager
def lives_bar(console: Console, total: Optional[int] = None) -> Iterator[Callable[[str], Any]]:
    """A bar that goes away at its end, over `total` lives if that is known; gives what tells that the next begins."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[behind]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(heading("lives"), total=total, behind="")
        begun = 0

        def tell(text: str) -> None:
            nonlocal begun
            bar.console.print(text, markup=False)
            behind = shown(f"{begun} of {total}") if total else ""
            bar.update(task, completed=begun if total else None, behind=behind)
            begun += 1

        yield tell
