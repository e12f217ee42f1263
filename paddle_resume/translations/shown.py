"""Text for a person, in their language."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from paddle_resume.translations.language import language
from paddle_resume.user_terms import translated_in_user_terms

if TYPE_CHECKING:
    from paddle_resume.translations.matching import Translator


class Shown(str):
    """Text that is in the person's language already, and is not looked up again."""


def shown(message: object) -> str:
    """The text of `message` in the language that was asked for; as it is where that is English."""
    text = message if isinstance(message, str) else str(message)
    wanted = language()
    if wanted == "en" or isinstance(text, Shown):
        return text
    return Shown(translated_in_user_terms(text, _translator(wanted).translate))


def heading(text: str) -> str:
    """A heading, a column title or a label, which may be a single word."""
    wanted = language()
    if wanted == "en" or isinstance(text, Shown):
        return text
    return Shown(_translator(wanted).heading(text))


def padded(text: str, width: int) -> str:
    """The heading `text` and spaces up to the column `width`; a Chinese character takes two columns."""
    if language() == "en":
        return f"{text:<{width}}"
    from rich.cells import cell_len

    said = heading(text)
    return said + " " * max(1, width - cell_len(said))


def labelled(label: str, text: str, width: int = 13, before: str = "") -> str:
    """A line: what stands `before`, the `label` and a colon, and `text` `width` columns further."""
    return Shown(before + padded(f"{label}:", width) + shown(text))


@cache
def _translator(wanted: str) -> Translator:
    # Here, since a program in English never needs the catalog.
    from paddle_resume.translations.catalog import catalog_path, read_translations
    from paddle_resume.translations.matching import Translator

    found = list(read_translations(catalog_path(wanted)))
    return Translator(
        [(message, translation) for message, translation, heading in found if not heading],
        [(message, translation) for message, translation, heading in found if heading],
    )
