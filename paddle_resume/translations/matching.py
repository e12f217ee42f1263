"""Finds the messages that a text was made from, and says them in another language.

A text is one message whose values are texts again, or several messages one after the other. What belongs to no message
stays as it is; a sentence of which only a part is known stays whole, rather than being half in one language.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple, Optional

from paddle_resume.translations import template as templates
from paddle_resume.translations.template import Template

# A template with fewer fixed letters, such as "{0} and {1}", counts only if all its values are understood as well.
_STRONG = 9
_WEAK = 5
_ONE_SHORT_WORD = 2
_LINES = re.compile(r"(\n\s*(?:- )?)")
_SENTENCES = re.compile(r"((?<=[a-z0-9)'\"`\]])\. )(?=[A-Z0-9'\"`(/<\-])")
_SEMICOLONS = re.compile(r"(; )")
_COLUMNS = re.compile(r"( {2,})")
_COMMAND = "paddle-resume"
_SEVERAL = re.compile(rf"\n|; |{_SENTENCES.pattern}")
_LIST = re.compile(r"[,:;] |-> |\n")
_LIST_OR_WORD = re.compile(rf"{_LIST.pattern}|^[a-z]+$")
_COLON = re.compile(r"(: )")
_CLAUSES = (re.compile(r"(, )"), _COLON, re.compile(r"( -> )"), re.compile(r"((?<=['\"]) or (?=['\"]))"))
_MOST_WORDS_OF_TWO = 24
# So many parts of one text are looked at in every way; a list without end takes no time without end.
_MOST_STEPS = 200
# Chinese has no article before it.
_A_NAME = re.compile(r"^an? ([A-Z]\w*|[\w.]+\.\w+)$")
_ENDS_IN_CHINESE = re.compile("[\u4e00-\u9fff）”]$")
_MARKS = {
    " or ": " 或 ",
    " (": "（",
    ")": "）",
    ". ": "。",
    "; ": "；",
    ": ": "：",
    ", ": "，",
    ".": "。",
    ",": "，",
    ";": "；",
    ":": "：",
}
_CHINESE = templates.CHINESE
# Two English words next to each other: not a name, a path or a number.
_PROSE = re.compile(r"(?<![\w/.\-'])[A-Za-z]?[a-z]+,? [a-z]{2,}(?![\w/\-='(]|\.\w)")


class Said(NamedTuple):
    """A text as it was said in the other language, and how much English prose is left in it."""

    text: str
    left: int = 0


class Translator:
    """Translates by the messages of a catalog.

    `messages` are (message, translation) pairs with numbered places; `headings` are those of single words, which are
    translated only where they stand alone as a heading or label, since as a value they may be a name.
    """

    def __init__(self, messages: Iterable[tuple[str, str]], headings: Iterable[tuple[str, str]] = ()) -> None:
        self._exact = dict(messages)
        self._headings = dict(headings)
        self._steps = 0
        self._by_word: Optional[dict[str, list[Template]]] = None
        self._by_lines: dict[int, list[Template]] = defaultdict(list)
        self._exact_lines = {message.count("\n") + 1 for message in self._exact if "\n" in message}
        self._said = lru_cache(maxsize=8192)(self._say)

    def translate(self, text: str) -> str:
        """The text with what is known of it in the other language."""
        self._steps = 0
        return self._said(text).text

    def heading(self, text: str) -> str:
        """A heading, label or column title; one word is enough here."""
        core = templates.bare(text)
        said = self._headings.get(core) or self._exact.get(core)
        return text.replace(core, said) if said else self.translate(text)

    def _say(self, text: str) -> Said:
        core = templates.bare(text)
        if not core:
            return Said(text)
        said = self._message(core)
        if said.text == core:
            return Said(text, said.left)
        start = text.index(core)
        after = text[start + len(core) :]
        mark = _MARKS.get(after[:1], after[:1]) if _CHINESE.search(said.text) else after[:1]
        if said.text.endswith(mark):
            mark = ""
        return Said(text[:start] + templates.joined((said.text, mark + after[1:])), said.left)

    def _message(self, core: str) -> Said:
        """The first of these ways that understands all of `core`, else the one that leaves the least of it."""
        best = Said(core, len(_PROSE.findall(core)))
        for said in self._ways(core) if best.left or " " in core else ():
            if not said.left:
                return said
            if said.left < best.left:
                best = said
        return Said(self._exact[core]) if core in self._exact else best

    def _ways(self, core: str) -> Iterator[Said]:
        if core in self._exact:
            yield Said(self._exact[core])
        fitting = self._fitting(core)
        strong = [one for one in fitting if one.letters >= _STRONG]
        weak = [one for one in fitting if one.letters < _STRONG]
        matches = [(one, *match) for one in strong for match in self._matches(one, core, _SEVERAL)]
        yield from (self._filled(one, values) for one, values, is_doubtful in matches if not is_doubtful)
        yield from self._lines(core)
        yield from self._apart(core, _COLUMNS)
        yield from self._sentences(core)
        self._steps += 1
        if self._steps < _MOST_STEPS:
            yield from (self._filled(one, values) for one, values, is_doubtful in matches if is_doubtful)
        for one in weak:
            if one.letters >= _WEAK:
                yield from self._filled_whole(one, core, _SEVERAL)
        yield from self._said_in_parts(_around_brackets(core))
        for one in weak:
            if one.letters < _WEAK:
                yield from self._filled_whole(one, core, _LIST if one.letters > _ONE_SHORT_WORD else _LIST_OR_WORD)
        for separator in _CLAUSES:
            # `what: text of another program` may be half known; of a list all has to be.
            yield from (said for said in self._apart(core, separator) if not said.left or separator is _COLON)
        yield from self._two(core)

    def _fitting(self, core: str) -> list[Template]:
        """The templates that the whole of `core` can come of, those with the most fixed letters first."""
        index = self._index()
        found = (one for word in (*templates.words_of_text(core), "") for one in index.get(word, ()))
        return sorted((one for one in found if one.may_fit(core)), key=lambda one: -one.letters)

    def _index(self) -> dict[str, list[Template]]:
        """The templates by their rarest word: few of them then come into question for a text."""
        if self._by_word is None:
            words = {message: templates.words(message) for message in self._exact if "{" in message}
            often = Counter(word for found in words.values() for word in found)
            self._by_word = defaultdict(list)
            for message, found in words.items():
                rarest = min(found, key=lambda word: (often[word], -len(word), word), default="")
                self._by_word[rarest].append(Template(message, self._exact[message]))
                if "\n" in message:
                    self._by_lines[message.count("\n") + 1].append(self._by_word[rarest][-1])
        return self._by_word

    def _matches(self, one: Template, core: str, several: re.Pattern[str]) -> Iterator[tuple[dict[str, str], bool]]:
        """The values of each match, and whether it is doubtful: a value is `several` things, such as sentences."""
        balanced = _balance(core)
        for values, is_completed in one.matches(core):
            # Else it cuts through a bracket.
            if balanced or not any(map(_balance, values.values())):
                yield values, is_completed or any(several.search(value) for value in values.values())

    def _filled(self, one: Template, values: dict[str, str]) -> Said:
        said = {name: self._said(text) for name, text in values.items()}
        kept = {name for name, value in said.items() if value.text == values[name]}
        texts = {name: _A_NAME.sub(r"\1", value.text) for name, value in said.items()}
        text = templates.filled(one.translation, texts, kept)
        # The mark at the end of the text is put there by the one who took it away.
        text = text if one.translation.endswith("。") else text.rstrip("。 ")
        return Said(text, sum(value.left for value in said.values()))

    def _filled_whole(self, one: Template, core: str, several: re.Pattern[str]) -> Iterator[Said]:
        """Only what is understood to the last word."""
        for values, is_doubtful in self._matches(one, core, several):
            said = None if is_doubtful else self._filled(one, values)
            if said is not None and not said.left:
                yield said

    def _sentences(self, core: str) -> Iterator[Said]:
        """Sentence by sentence, or several together that are one message; then the parts between semicolons."""
        parts = _SENTENCES.split(core)
        if len(parts) > 1:
            ends = lambda place: range(len(parts), place + 1, -2)  # noqa: E731
            yield from self._said_in_parts(_together(parts, ends, lambda text: self._known(text) is not None))
        yield from self._apart(core, _SEMICOLONS)

    def _lines(self, core: str) -> Iterator[Said]:
        """Line by line, or several together that are one message of so many lines."""
        parts = _LINES.split(core)
        if len(parts) > 1:
            self._index()
            sizes = sorted({*self._by_lines, *self._exact_lines}, reverse=True)
            ends = lambda place: [place + 2 * size - 1 for size in sizes if place + 2 * size - 1 <= len(parts)]  # noqa: E731
            yield from self._said_in_parts(_together(parts, ends, self._is_of_several_lines))

    def _is_of_several_lines(self, text: str) -> bool:
        """Whether the text is one message whose values have no lines of their own."""
        if text in self._exact:
            return True
        size = text.count("\n") + 1
        fitting = (one for one in self._by_lines.get(size, ()) if one.letters >= _STRONG and one.may_fit(text))
        return any(
            "\n" not in "".join(values.values()) for one in fitting for values, _ in self._matches(one, text, _SEVERAL)
        )

    def _apart(self, core: str, separator: re.Pattern[str]) -> Iterator[Said]:
        """The parts of `core`, each said by itself; nothing if it has one part."""
        yield from self._said_in_parts(separator.split(core))

    def _said_in_parts(self, parts: list[str]) -> Iterator[Said]:
        """`parts` are texts with the marks between them."""
        if len(parts) == 1:
            return
        said = [self._said(part) for part in parts[::2]]
        texts = [one.text for one in said]
        if texts == parts[::2]:
            return
        text = texts[0]
        for mark, before, after in zip(parts[1::2], texts, texts[1:]):
            # Chinese marks only between what is Chinese: a path or a list of figures keeps its own.
            said_before, said_after = _CHINESE.search(before), _CHINESE.search(after)
            chinese = said_after if mark == " (" else said_before and (said_after or mark in (". ", ": ", ")"))
            if mark == ", ":
                chinese = chinese and _ENDS_IN_CHINESE.search(before)
            if mark.strip(" "):
                text = templates.joined((text, _MARKS.get(mark, mark) if chinese else mark, after))
            else:
                text += mark + after
        yield Said(text, sum(one.left for one in said))

    def _two(self, core: str) -> Iterator[Said]:
        """Two messages with only a space between, or a name and a message."""
        words = core.split(" ")
        if words[0] == _COMMAND:
            return  # It is to be pasted.
        if not 1 < len(words) <= _MOST_WORDS_OF_TWO or _SEVERAL.search(core):
            return
        for place in range(1, len(words)):
            after = self._known(" ".join(words[place:]))
            if after is not None:
                before = " ".join(words[:place])
                said = before if place == 1 and not before.isalpha() else self._known(before)
                if said is not None:
                    yield Said(templates.joined((f"{said} ", after)))

    def _known(self, text: str) -> Optional[str]:
        """The translation of a text that is one message, all of it understood."""
        if text in self._exact:
            return self._exact[text]
        for one in self._fitting(text):
            if one.letters >= _WEAK:
                said = next(self._filled_whole(one, text, _SEVERAL), None)
                if said is not None:
                    return said.text
        return None


def _together(parts: list[str], ends: Callable[[int], Iterable[int]], is_one: Callable[[str], bool]) -> list[str]:
    """The parts and the marks between them, those that together are one message as one part; longest first."""
    joined, place = [], 0
    while place < len(parts):
        end = next((end for end in ends(place) if is_one("".join(parts[place:end]))), place + 1)
        joined += ["".join(parts[place:end]), *parts[end : end + 1]]
        place = end + 1
    return joined


def _balance(text: str) -> int:
    return text.count("(") - text.count(")")


def _around_brackets(text: str) -> list[str]:
    """What stands before, in and after the first brackets that follow a space, and the brackets between."""
    begin = text.find(" (")
    depth = 0
    for place in range(begin + 1, len(text) if begin > 0 else 0):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return [text[:begin], " (", text[begin + 2 : place], ")", text[place + 1 :]]
    return [text]
