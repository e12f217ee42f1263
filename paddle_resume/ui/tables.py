"""Where a command prints what it found: rich tables on a terminal, plain columns in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from rich.table import Table
from rich.text import Text

from paddle_resume.translations.console import Console

_WIDE = 10_000  # A pipe has no width that a line should be broken at.


class TablePrinter:
    """Prints tables and lines to `console` (default: standard output); the text in them is shown as it is."""

    def __init__(self, console: Optional[Console] = None) -> None:
        terminal = (console or Console()).is_terminal
        self._console = console or Console(highlight=False, width=None if terminal else _WIDE)
        self._plain = not terminal

    def table(self, title: str, columns: Sequence[str], right: Sequence[str] = ()) -> Table:
        """An empty table; the columns named in `right` hold figures and end at their right edge."""
        table = Table(title=None if self._plain or not title else title, title_justify="left")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        if self._plain:
            table.box = None
            if title:
                self.say(f"{title}:")
        return table

    def add(self, table: Table, *cells: str, style: Optional[str] = None) -> None:
        """Add a row, in a color on a terminal."""
        table.add_row(*map(Text, cells), style=style)

    def show(self, renderable: Any) -> None:
        """Print a table or a tree."""
        self._console.print(renderable)

    def say(self, text: str, style: Optional[str] = None) -> None:
        """Print a line, in a color on a terminal."""
        self._console.print(text, markup=False, soft_wrap=True, style=style)
