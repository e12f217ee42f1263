"""The program around its commands: quick where it needs no Paddle, and interrupted as shells expect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from paddle_resume.cli.app import COMMANDS

WITHOUT_PADDLE = (
    "import sys\nfrom paddle_resume.cli import main\n"
    "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
    "    print(end.code, [name for name in ('paddle', 'numpy', 'matplotlib') if name in sys.modules])"
)
NAMES = [name for commands in COMMANDS.values() for name, _ in commands]


def program(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)]))}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("wrong", "--help"), ("--version",)])
def test_help_waits_for_no_large_library(arguments: tuple[str, ...]) -> None:
    done = program("-c", WITHOUT_PADDLE, *arguments)
    assert done.stdout.splitlines()[-1] == "0 []", done


def test_help_shows_the_commands_in_the_order_of_the_table() -> None:
    shown = program("-m", "paddle_resume", "--help").stdout
    first_words = [words[1] for words in map(str.split, shown.splitlines()) if len(words) > 2]
    assert [word for word in first_words if word in NAMES] == NAMES


@pytest.mark.parametrize("arguments", [("train", "-c", "mnist"), ("prove", "-c", "mnist"), ("doctor", ".")])
def test_ctrl_c_while_paddle_is_imported_ends_with_130(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "paddle.py").write_text(
        "import os, signal, time\n"
        # A shell that starts the tests behind it has Ctrl-C ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n",
        encoding="utf-8",
    )
    done = program("-m", "paddle_resume", *arguments, path=str(tmp_path))
    assert done.returncode == 130 and "Traceback" not in done.stderr
