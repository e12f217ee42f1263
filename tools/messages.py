"""The messages of the source and their translations: `python tools/messages.py` says what is missing or out of date.

`--update` brings the catalog up to the source, `--missing` prints what is to be translated, `--fill FILE` puts it in.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from message_source import Found, messages_of_package

from paddle_resume.translations.catalog import Entry, catalog_path, read_catalog, read_head, write_catalog
from paddle_resume.translations.template import bare, places

PATH = catalog_path("zh")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="add new messages, drop those that are gone")
    parser.add_argument("--missing", action="store_true", help="print what has no translation yet, to be filled in")
    parser.add_argument("--fill", metavar="FILE", help="take translations from a file such as --missing prints")
    given = parser.parse_args()
    source, entries = messages_of_package(), read_catalog(PATH)
    if given.fill:
        entries = fill(updated(source, entries), Path(given.fill).read_text(encoding="utf-8"))
    elif given.update:
        entries = updated(source, entries)
    if given.fill or given.update:
        write_catalog(PATH, read_head(PATH), entries)
    if given.missing:
        print(to_fill_in(updated(source, entries)), end="")
        return 0
    problems = problems_of(source, entries)
    print("\n".join(problems) or f"{len(entries)} messages, each with its translation.")
    return 1 if problems else 0


def problems_of(source: dict[str, Found], entries: list[Entry]) -> list[str]:
    """A line for each message without an entry, entry without a message, and translation that does not fit."""
    known = {entry.message for entry in entries}
    lines = [
        f"not in the catalog: {message!r} of {found.files[0]}"
        for message, found in source.items()
        if message not in known
    ]
    for entry in entries:
        if entry.message not in source:
            lines.append(f"no longer in the source: {entry.message!r}")
        elif not entry.translation and not entry.fuzzy:
            lines.append(f"not translated: {entry.message!r} of {entry.files[0]}")
        elif entry.translation and not places_fit(entry):
            lines.append(f"other places than the message has: {entry.message!r}: {entry.translation!r}")
    return lines


def places_fit(entry: Entry) -> bool:
    """Each value of the message is in the translation, once or more; a choice of endings, `{s|}`, need not be."""
    wanted, found = set(places(entry.message)), set(places(entry.translation))
    return found <= wanted and {place for place in wanted if "|" not in place} <= found


def updated(source: dict[str, Found], entries: list[Entry]) -> list[Entry]:
    """One entry for each message of the source, in its order; a new one proposes what its nearest predecessor said."""
    old = {entry.message: entry for entry in entries}
    gone = [message for message in old if message not in source and old[message].translation]
    made = []
    for message, found in source.items():
        entry = old.get(message)
        if entry is None:
            entry = Entry(message)
            for near in difflib.get_close_matches(message, gone, n=1, cutoff=0.8):
                entry.translation, entry.fuzzy = old[near].translation, True
        entry.files, entry.heading = found
        made.append(entry)
    return made


def to_fill_in(entries: list[Entry]) -> str:
    """For each message without a shown translation three lines: file, message, and `= ` for the translation."""
    return "".join(
        f"# {' '.join(entry.files)}\n{_on_one_line(entry.message)}\n= {_on_one_line(entry.translation)}\n\n"
        for entry in entries
        if not entry.is_used
    )


def fill(entries: list[Entry], text: str) -> list[Entry]:
    """The entries with the translations of a filled-in list."""
    by_message = {entry.message: entry for entry in entries}
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("# ")]
        if len(lines) != 2 or not lines[1].startswith("="):
            raise SystemExit(f"expected a message and a line that begins with =, not:\n{block}")
        message, translation = _whole(lines[0]), bare(_whole(lines[1][1:].strip()))
        if message not in by_message:
            print(f"no longer in the source: {message!r}", file=sys.stderr)
        elif translation:
            by_message[message].translation, by_message[message].fuzzy = translation, False
    return entries


def _on_one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _whole(line: str) -> str:
    return line.replace("\\n", "\n").replace("\\\\", "\\")


if __name__ == "__main__":
    sys.exit(main())
