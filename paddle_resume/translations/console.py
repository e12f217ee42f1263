"""rich's Console, which shows lines, tables and trees in the person's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich.console

from paddle_resume.translations.language import language
from paddle_resume.translations.shown import heading, shown

if TYPE_CHECKING:
    from rich.status import Status


class Console(rich.console.Console):
    """A console whose `print` and `status` translate what they are given."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(objects if language() == "en" else map(_translated, objects)), **options)

    def status(self, status: Any, **options: Any) -> Status:
        return super().status(status if language() == "en" else _translated(status), **options)


def _translated(thing: Any) -> Any:
    # Here, since `--help` in English needs none of them.
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

    if isinstance(thing, str):
        return shown(thing)
    if isinstance(thing, Text):
        return thing if thing.spans else Text(shown(thing.plain), style=thing.style)
    if isinstance(thing, Table):
        thing.title = heading(thing.title) if isinstance(thing.title, str) else thing.title
        for column in thing.columns:
            column.header = heading(column.header) if isinstance(column.header, str) else column.header
            column._cells[:] = map(_translated, column._cells)
    if isinstance(thing, Tree):
        thing.label = _translated(thing.label)
        for child in thing.children:
            _translated(child)
    return thing
