"""The Chinese catalog has every message of the source, nothing else, and changes no flag, key or name."""

from __future__ import annotations

import re

import messages
import pytest
from message_source import messages_of, messages_of_package
from places import ROOT

from paddle_resume.toolbox.config_page import config_page
from paddle_resume.translations import set_language
from paddle_resume.translations.catalog import Entry, catalog_path, read_catalog
from paddle_resume.translations.matching import Translator

ENTRIES = read_catalog(catalog_path("zh"))
# Waiting for somebody who writes Chinese; more of them would be a program in two languages at once.
MOST_FUZZY = 20
# What a person types or looks for: --flag, config.key, `code`, ClassName, NAME, name_with_underscores, numbers.
_UNTOUCHED = re.compile(
    r"--[a-z][a-z-]+|[A-Za-z_]+\.[a-z_]+|`[^`]+`|[A-Z][a-z]+[A-Z]\w+|\b[A-Z_]{4,}\b|\b\d+\b|\b\w+_\w+\b"
)
# What is printed without prose of its own.
WITHOUT_PROSE = (
    "paddle_resume {__version__}",
    "{heading('error')}",
    "paddle-resume: {shown",
    "run: {shown",
    "{split}/{name}",
    '"\\n".join',
)


def test_the_catalog_is_that_of_the_source() -> None:
    """`python tools/messages.py --missing` lists what is to be translated."""
    assert messages.problems_of(messages_of_package(), ENTRIES) == []


def test_few_translations_wait_for_somebody_who_writes_chinese() -> None:
    assert sum(entry.fuzzy for entry in ENTRIES) <= MOST_FUZZY


@pytest.mark.parametrize("broken", ["missing", "stale", "places"])
def test_what_is_out_of_date_is_found(broken: str) -> None:
    source, entries = messages_of_package(), read_catalog(catalog_path("zh"))
    if broken == "missing":
        entries.pop()
    elif broken == "stale":
        entries.append(Entry("Nobody says this", "没有人这么说"))
    else:
        entry = next(entry for entry in entries if "{1}" in entry.message)
        entry.translation = entry.translation.replace("{1}", "")
    assert len(messages.problems_of(source, entries)) == 1


def test_a_new_message_of_each_form_is_found() -> None:
    source = '''
import typer
def command(value: Annotated[int, typer.Option(help="A new option.")]):
    """A new command."""
    raise Error(f"New: {value} of {1 + 1} {'kills' if value else 'kill'}")
    text += f"; {value} resume{'s' if value > 1 else ''}."
    table("A title", ("Heading", "two words"))
    print(labelled("Label", "x"))
    _check(re.compile("not a message"), "identifier", "/a/path")
'''
    assert {text for text, _ in messages_of(source)} == {
        "A new option", "A new command", "New: {0} of {1} {kills|kill}", "{0} resume{s|}", "A title", "Heading",
        "two words", "Label", "kills", "kill",
    }  # fmt: skip


def test_a_filled_list_goes_into_the_catalog() -> None:
    entry = Entry("There is no {0} in {1}\nat all", files=("a.py",))
    listed = messages.to_fill_in([entry])
    filled = messages.fill([entry], listed.replace("= \n", "= {1} 里\\n没有 {0}\n"))
    assert filled[0].translation == "{1} 里\n没有 {0}" and messages.to_fill_in(filled) == ""


def test_flags_keys_and_names_are_untouched() -> None:
    changed = {
        entry.message: missing
        for entry in ENTRIES
        if entry.translation and not entry.message.startswith("# ")
        if (missing := [text for text in _UNTOUCHED.findall(entry.message) if text not in entry.translation])
    }
    assert changed == {}


def test_the_chinese_page_of_the_config_is_made_from_the_code() -> None:
    set_language("zh")
    try:
        made = config_page()
    finally:
        set_language("en")
    page = ROOT / "docs" / "zh" / "config.md"
    assert page.read_text(encoding="utf-8") == made, "make it anew: paddle-resume --lang zh schema --page"


@pytest.mark.parametrize(("page", "chinese"), [("docs/errors.md", False), ("docs/zh/errors.md", True)])
def test_the_page_of_errors_quotes_messages_that_there_are(page: str, chinese: bool) -> None:
    said = ["".join((entry.translation if chinese else entry.message).split()) for entry in ENTRIES]
    text = (ROOT / page).read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(quoted) > 20
    for cell in quoted:
        parts = [re.escape("".join(part.split()).rstrip(".。，,")) for part in cell.split("…")]
        pattern = re.compile(".*".join(parts))
        assert any(pattern.search(one) for one in said), cell


def test_everything_printed_goes_through_an_outlet() -> None:
    """Prose that is printed as it stands would be in English whatever was asked for."""
    bare = []
    for path in sorted((ROOT / "paddle_resume").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "translations" in path.parts:
            continue
        assert "from rich.console import Console" not in text, f"{path}: take paddle_resume.translations.console"
        bare += [f"{path}: {line}" for line in re.findall(r"^\s*print\(\s*f?[\"'].*$", text, re.MULTILINE)]
    assert [line for line in bare if not any(one in line for one in WITHOUT_PROSE)] == []


def test_the_translator_is_quick_with_what_it_does_not_know() -> None:
    import time

    translator = Translator([(entry.message, entry.translation) for entry in ENTRIES])
    translator.translate("a first text, for which the index is made")
    began = time.perf_counter()
    translator.translate("; ".join(f"layer{i}.weight is of no kind that anybody knows in the file" for i in range(100)))
    assert time.perf_counter() - began < 10
