"""A gettext catalog (.po) as a list of entries, read and written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r'^(msgctxt|msgid|msgstr) (".*")$')
_HEADING = "heading"
# As `write_catalog` writes an entry: each text in one line.
_SHOWN = re.compile(r'^(#, fuzzy\n)?(msgctxt ".*"\n)?msgid ("..*")\nmsgstr (".*")$', re.MULTILINE)


@dataclass
class Entry:
    """One message, with numbered values such as {0}; a fuzzy translation is a proposal, and is not shown."""

    message: str
    translation: str = ""
    files: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    fuzzy: bool = False
    # One word that is translated only where it stands alone as a heading or a label.
    heading: bool = False

    @property
    def is_used(self) -> bool:
        return bool(self.translation) and not self.fuzzy


def catalog_path(language: str) -> Path:
    return Path(__file__).parent / f"{language}.po"


def read_translations(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Message, translation and whether it is a heading, of each that is to be shown; faster than `read_catalog`."""
    for fuzzy, heading, message, translation in _SHOWN.findall(path.read_text(encoding="utf-8")):
        if not fuzzy and translation != '""':
            yield _text(message), _text(translation), bool(heading)


def read_catalog(path: Path) -> list[Entry]:
    """The entries of the file, without the one of its head."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return [entry for entry in map(_entry, blocks) if entry.message]


def read_head(path: Path) -> str:
    """What stands before the first message: the glossary, and gettext's own fields."""
    return path.read_text(encoding="utf-8").split("\n\n", 1)[0]


def write_catalog(path: Path, head: str, entries: Iterable[Entry]) -> None:
    path.write_text("\n\n".join([head, *map(_block, entries)]) + "\n", encoding="utf-8")


def _text(quoted: str) -> str:
    return json.loads(quoted) if "\\" in quoted else quoted[1:-1]


def _entry(block: str) -> Entry:
    texts = {"msgctxt": "", "msgid": "", "msgstr": ""}
    entry, current = Entry(""), ""
    for line in block.splitlines():
        match = _LINE.match(line)
        if match:
            current = match.group(1)
            texts[current] = json.loads(match.group(2))
        elif line.startswith('"'):
            texts[current] += json.loads(line)
        elif line.startswith("#: "):
            entry.files += tuple(line[3:].split())
        elif line.startswith("#,"):
            entry.fuzzy = "fuzzy" in line
        elif line.startswith("#"):
            entry.notes.append(line)
    entry.heading = texts["msgctxt"] == _HEADING
    entry.message, entry.translation = texts["msgid"], texts["msgstr"]
    return entry


def _block(entry: Entry) -> str:
    lines = [*entry.notes, *(f"#: {file}" for file in entry.files), *(["#, fuzzy"] if entry.fuzzy else [])]
    # JSON's escapes are those of a .po file; a character beyond ASCII stays itself.
    if entry.heading:
        lines.append(f'msgctxt "{_HEADING}"')
    lines.append(f"msgid {json.dumps(entry.message, ensure_ascii=False)}")
    lines.append(f"msgstr {json.dumps(entry.translation, ensure_ascii=False)}")
    return "\n".join(lines)
