"""What a person reads, in their language; what is written to disk, compared or given to a program stays English.

The source is in English. Where text reaches a person it passes through `shown`, which finds the message among those of
the catalog (`zh.po`), fills its values into the translation, and leaves in English what the catalog does not hold.
"""

from __future__ import annotations

from typing import Optional

from paddle_resume.translations.language import choose_language, language
from paddle_resume.translations.shown import heading, labelled, padded, shown
from paddle_resume.translations.tracebacks import translate_tracebacks

__all__ = ["heading", "labelled", "language", "padded", "print_uncaught_in_language", "set_language", "shown"]


def set_language(name: Optional[str]) -> None:
    """Show messages in `name`, `en` or `zh`, from here on; None: in the language that the locale says.

    It counts for this process and those that it starts. Errors that nobody catches are printed in it, also in a
    notebook; what a program catches, and all files, stay English. Raises ConfigError for another name.
    """
    choose_language(name)
    print_uncaught_in_language()


def print_uncaught_in_language() -> None:
    """What Python or a notebook prints of errors that nobody catches, if that is not to be English."""
    if language() != "en":
        translate_tracebacks()
