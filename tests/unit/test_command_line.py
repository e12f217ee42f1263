"""The command that is to be run again: as a person typed it, without secrets and without what is done once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paddle_resume import command_line
from paddle_resume.command_line import called_with, continuing, run_again, this_command, with_command, with_options


def test_a_command_in_this_process_is_what_it_was_called_with() -> None:
    with called_with(["train", "-c", "a b.yaml", "-o", "optimizer.lr={name: Cosine}"]):
        assert this_command() == "paddle-resume train -c 'a b.yaml' -o 'optimizer.lr={name: Cosine}'"
        assert with_options("-o", "run.seed=3", "--allow-change").endswith("-o run.seed=3 --allow-change")


def test_what_says_where_to_begin_is_not_said_again() -> None:
    with called_with(["train", "-c", "a.yaml", "--resume", "none", "--overwrite", "-q"]):
        assert continuing() == "paddle-resume train -c a.yaml -q"
        assert run_again() == "Run the same command again to continue:\n  paddle-resume train -c a.yaml -q"
        assert "--overwrite" in this_command()
        assert with_command("Mend it, then run the same command again.").endswith(
            "\n  paddle-resume train -c a.yaml -q"
        )
        assert with_command("Something else.") == "Something else."
    with called_with(["train", "-c", "a.yaml", "--resume=ck/x_step3"]):
        assert continuing() == "paddle-resume train -c a.yaml"


def test_an_option_is_given_once_and_variables_come_first() -> None:
    with called_with(["train", "-c", "a.yaml", "--allow-change"]):
        assert with_options("--allow-change").count("--allow-change") == 1
        given = with_options(environment={"OMP_NUM_THREADS": "2", "MKL_CBWR": None})
        assert given == "env -u MKL_CBWR OMP_NUM_THREADS=2 paddle-resume train -c a.yaml --allow-change"


def test_secrets_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_TOKEN", "s3cret-of-mine")
    words = ["train", "--token", "abcdef", "--password=hunter2", "-o", "callbacks.0.api_key=xyz", "s3cret-of-mine"]
    with called_with([*words, "https://me:pass@host/x", "-o", "model.num_tokens=3"]):
        command = this_command()
    for secret in ("abcdef", "hunter2", "xyz", "s3cret", "pass@"):
        assert secret not in command, command
    assert "$TRACKER_TOKEN" in command and "--password=***" in command and "https://me:***@host/x" in command


PROGRAM = "from paddle_resume.command_line import this_command; print(this_command())"


def test_a_program_is_told_as_it_was_started_and_through_what_started_it(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(PROGRAM)

    def told(*words: str) -> str:
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    assert told(sys.executable, "mine.py", "--epochs", "5").endswith(" mine.py --epochs 5")
    assert told("nice", "-n", "1", sys.executable, "mine.py", "7").endswith("mine.py 7")
    launcher = tmp_path / "launcher.py"
    launcher.write_text("import subprocess, sys; subprocess.run([sys.executable, '-u', *sys.argv[2:]])")
    assert told(sys.executable, "launcher.py", "--two", "mine.py", "7").endswith(" launcher.py --two mine.py 7")
    assert told(sys.executable, "-c", PROGRAM) == ""


def test_in_a_notebook_it_is_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", os)
    assert command_line.run_again() == "Run the same cell again to continue."
