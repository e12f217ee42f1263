"""Who asked for Chinese gets it, and nobody else; where it cannot be printed, English."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator

import pytest
from places import ROOT

from paddle_resume import set_language
from paddle_resume.errors import CheckpointError, ConfigError
from paddle_resume.translations import labelled, language, padded, shown
from paddle_resume.translations.console import Console
from paddle_resume.translations.language import VARIABLE, choose_language

TEXT = "There is no checkpoint ck/a."


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    set_language("en")


def _program(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, timeout=60)


LANGUAGE = "from paddle_resume.translations import language; print(language())"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.GB18030", "PYTHONUTF8": "1"}, "zh"),
        ({"LANG": "zh_TW.UTF-8"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, "zh"),
        ({"LANG": "C", "LANGUAGE": "zh_CN"}, "en"),
        ({"LANG": "zh_CN.UTF-8", VARIABLE: "en"}, "en"),
        ({"LANG": "en_US.UTF-8", VARIABLE: "zh"}, "zh"),
        ({VARIABLE: "zh_CN.UTF-8"}, "zh"),
        # The kernel's console has no Chinese letters; a pipe or a code page of the west cannot carry them.
        ({"LANG": "zh_CN.UTF-8", "TERM": "linux"}, "en"),
        ({VARIABLE: "zh", "PYTHONIOENCODING": "ascii"}, "en"),
        ({VARIABLE: "zh", "PYTHONIOENCODING": "cp1252"}, "en"),
        ({VARIABLE: "zh", "PYTHONIOENCODING": "cp936"}, "zh"),
    ],
)
def test_the_environment_says_which_language(environment: dict[str, str], wanted: str) -> None:
    done = _program(LANGUAGE, **environment)
    assert done.stdout.decode("ascii").split() == [wanted], done


def test_an_unknown_language_is_told_once_and_messages_are_in_english() -> None:
    done = _program(f"{LANGUAGE}; print(language())", **{VARIABLE: "fr"})
    assert done.stdout.split() == [b"en", b"en"]
    assert done.stderr.decode() == f"{VARIABLE} is fr; expected one of en, zh. Messages are in English.\n"


def test_a_notebook_chooses_by_a_call() -> None:
    assert shown(TEXT) == TEXT
    set_language("zh")
    assert language() == "zh" and shown(TEXT) == "没有检查点 ck/a。"
    assert shown(shown(TEXT)) == shown(TEXT)
    with pytest.raises(ConfigError, match="expected one of en, zh"):
        set_language("fr")


def test_english_needs_no_catalog() -> None:
    done = _program("import sys, paddle_resume.cli; print(*(name for name in sys.modules if 'translations' in name))")
    assert b"shown" in done.stdout and b"catalog" not in done.stdout and b"matching" not in done.stdout


def test_what_is_caught_stays_english_and_what_is_not_is_printed_in_chinese() -> None:
    code = (
        "import paddle_resume\nfrom paddle_resume.errors import CheckpointError\n"
        f"error = CheckpointError({TEXT!r})\nprint(error)\nraise ValueError('x') from error\n"
    )
    done = _program(code, **{VARIABLE: "zh", "PYTHONUTF8": "1"})
    assert done.stdout.decode().strip() == TEXT
    assert "CheckpointError: 没有检查点 ck/a。" in done.stderr.decode()


def test_labels_are_aligned_by_columns_not_by_letters() -> None:
    choose_language("zh")
    assert labelled("Resume", "nothing to resume: a fresh start") == "恢复:        没有可恢复的内容：全新开始"
    assert padded("ok", 9) == "正常     "


def test_a_console_says_lines_and_tables_in_the_language() -> None:
    from rich.table import Table

    choose_language("zh")
    table = Table("size", "why", box=None)
    table.add_row("4 KiB", "kept by its name")
    file = io.StringIO()
    console = Console(file=file, width=60)
    console.print(TEXT)
    console.print(table)
    assert file.getvalue().split() == ["没有检查点", "ck/a。", "大小", "原因", "4", "KiB", "按名字保留"]


@pytest.mark.parametrize("argv0", ["paddle-resume.exe", "tools/train.py", "-m"])
def test_a_command_on_windows_is_one_sentence_that_names_wsl2(argv0: str) -> None:
    done = _program(f"import psutil, sys\nsys.argv[0] = {argv0!r}\nsys.platform = 'win32'\nimport paddle_resume\n")
    assert done.returncode == 2 and done.stdout == b""
    said = done.stderr.decode()
    assert said.startswith("error: paddle_resume does not run on Windows itself") and "WSL2" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("spoken", ["en", "zh"])
def test_an_import_on_windows_ends_in_that_sentence(spoken: str) -> None:
    code = "import psutil, sys\nsys.platform = 'win32'\nimport paddle_resume\n"
    last = _program(code, **{VARIABLE: spoken, "PYTHONUTF8": "1"}).stderr.decode().splitlines()[-1]
    assert last.startswith("paddle_resume.errors.UnsupportedSystemError: ")
    assert "WSL2" in last and "wsl --install" in last and "fcntl" not in last


def test_an_error_is_itself_in_both_languages() -> None:
    set_language("zh")
    assert str(CheckpointError(TEXT)) == TEXT
