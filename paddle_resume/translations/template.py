"""A message with places for values: `{0}` is any text, `{s|}` one of the texts between the bars."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

PLACE = re.compile(r"\{(\d+|[^{}|]*\|[^{}]*)\}")
# What may stand around a message without being part of it; a full stop before it is that of a file's ending.
_BEFORE = " \n,;:"
_AFTER = " \n,;:."
# Marks that bring their own space along.
_FULL_WIDTH = "，。；：（）、“”！？"
CHINESE = re.compile("[\u4e00-\u9fff]")
_WORD = re.compile(r"[A-Za-z][A-Za-z']+")


def bare(template: str) -> str:
    """The message without the spaces and punctuation around it, by which it is looked up."""
    text = template.lstrip(_BEFORE)
    if text.startswith(". "):
        text = text[2:].lstrip(_BEFORE)
    return text.rstrip(_AFTER)


def places(template: str) -> list[str]:
    """The places of a template in its order: `0`, `1`, `s|`."""
    return PLACE.findall(template)


def literals(template: str) -> list[str]:
    """The fixed texts between the places; one more than there are places."""
    return PLACE.split(template)[::2]


def letters(template: str) -> int:
    """How many letters are fixed: how much a match says."""
    return sum(map(str.isalpha, "".join(literals(template))))


def words(template: str) -> set[str]:
    """The words that any text of this template holds whole."""
    # A word that touches a place, as in `resume{s|}`, is not whole.
    return set(_WORD.findall(re.sub(r"\w*\{[^{}]*\}\w*", " ", template)))


def words_of_text(text: str) -> set[str]:
    return set(_WORD.findall(text))


def pattern(template: str, any_text: str = "(.*?)") -> re.Pattern[str]:
    """Matches the texts of the template; group n is the value of its nth place."""
    parts = []
    pieces = PLACE.split(template)
    for place, text in enumerate(pieces):
        if place % 2 == 0:
            parts.append(re.escape(text))
        elif "|" in text:
            parts.append(f"({'|'.join(map(re.escape, text.split('|')))})")
        else:
            # Of two values side by side the second mostly is an addition that may be missing.
            beside = pieces[place + 1] == "" and place + 2 < len(pieces)
            parts.append("(.*)" if beside else any_text)
    return re.compile("".join(parts), re.DOTALL)


def filled(translation: str, values: dict[str, str], kept: Collection[str] = ()) -> str:
    """The translation with the values in its places; those `kept` are a person's own, such as a path."""
    parts = PLACE.split(translation)
    own = {place for place, part in enumerate(parts) if place % 2 and part in kept}
    return joined((values.get(part, "") if place % 2 else part for place, part in enumerate(parts)), own)


def joined(pieces: Iterable[str], own: Collection[int] = ()) -> str:
    """The pieces one after the other: a space between Chinese and Latin text, none between two Chinese ones.

    What is inside of a piece stays as it is, and so does the space around those of the numbers `own` that are Chinese.
    """
    text = ""
    chinese_names = False
    for number, piece in enumerate(pieces):
        left, right = text.rstrip(" "), piece.lstrip(" ")
        beside_a_name, chinese_names = chinese_names, number in own and bool(CHINESE.search(piece))
        if not left or not right or beside_a_name or chinese_names:
            text += piece
            continue
        ends, begins = left[-1], right[0]
        if ends in _FULL_WIDTH or begins in _FULL_WIDTH or (_is_chinese(ends) and _is_chinese(begins)):
            text = left + right
        elif _is_chinese(ends) != _is_chinese(begins) and (ends + begins).replace("_", "a").isalnum():
            text = f"{left} {right}"
        else:
            text += piece
    return text


class Template:
    """One message with places, whose patterns are made when they are first tried."""

    def __init__(self, message: str, translation: str) -> None:
        self.translation = translation
        self.letters = letters(message)
        self._message = message
        self._places = places(message)
        self._fixed = [text for text in literals(message) if text.strip(" .")]
        self._ends_in_a_value = message.endswith("}")
        self._patterns: list[re.Pattern[str]] = []

    def may_fit(self, text: str) -> bool:
        return all(fixed in f"{text}. " for fixed in self._fixed)

    def matches(self, text: str) -> Iterator[tuple[dict[str, str], bool]]:
        """The values of the places, each as short as it can be, then each as long; and whether a mark had to be added.

        A full stop at the end of the text is gone by now, and may stand before a last value that is empty.
        """
        if not self._patterns:
            self._patterns = [pattern(self._message, any_text) for any_text in ("(.*?)", "(.*)")]
        seen = None
        for ending in ("", ".", ". ") if self._ends_in_a_value else ("",):
            for one in self._patterns:
                match = one.fullmatch(text + ending)
                if match and match.groups() != seen:
                    seen = match.groups()
                    yield dict(zip(self._places, seen)), bool(ending)


def _is_chinese(character: str) -> bool:
    return bool(CHINESE.match(character))
