"""Commands beside a training that saves and removes checkpoints all the time: none of them takes that for damage."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import PROGRAMS

from paddle_resume.checkpoint import settled as settling
from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.settled import settled
from paddle_resume.checkpoint.unreadable import Damaged, Removed
from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.cli import main
from paddle_resume.errors import CheckpointError

BEST = "run_best"
COMMANDS: dict[str, tuple[str, ...]] = {
    "verify": ("verify", "{folder}"),
    "verify the best": ("verify", f"{{folder}}/{BEST}"),
    "list": ("list", "{folder}"),
    "list --verify": ("list", "{folder}", "--verify"),
    "show": ("show", f"{{folder}}/{BEST}"),
    "diff": ("diff", f"{{folder}}/{BEST}", f"{{folder}}/{BEST}"),
    "strip": ("strip", f"{{folder}}/{BEST}", "--output", "{folder}/../s.pdparams", "--overwrite"),
    "prune": ("prune", "{folder}", "--keep", "1"),
    "recover": ("recover", "{folder}"),
    "doctor": ("doctor", "{folder}"),
}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run that saves and removes without a pause."""
    folder = tmp_path / "checkpoint"
    saving = subprocess.Popen(
        [sys.executable, PROGRAMS / "save_and_prune.py", folder], stdout=subprocess.PIPE, text=True
    )
    assert saving.stdout is not None
    assert saving.stdout.readline() == "ready\n"
    yield folder
    assert saving.poll() is None
    saving.kill()
    saving.wait()
    saving.stdout.close()


def call(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([argument.format(folder=folder) for argument in arguments])
    said = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, said.out + said.err


def failures(
    capsys: pytest.CaptureFixture[str], folder: Path, seconds: float, names: list[str]
) -> tuple[int, list[str]]:
    """How often the commands ran, one after the other, and what those said that did not end as beside a resting run."""
    failed, count, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for name in names:
            code, said = call(capsys, folder, *COMMANDS[name])
            count += 1
            # Two looks at one that is saved anew in between may differ.
            if code not in ((0, 1) if name == "diff" else (0,)) or "damaged" in said.replace("1 damaged", "damaged"):
                failed.append(f"{name}: {code}: {said[-300:]}")
    return count, failed


def test_no_command_fails_because_a_training_saves_and_removes(
    running: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {each.prefix for each in find_all(running)}
    count, failed = failures(capsys, running, 4, [name for name in COMMANDS if name != "doctor"])
    assert failed == []
    assert count > 20
    assert {each.prefix for each in find_all(running)} != first


@pytest.mark.full
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_never_fails_beside_a_training(running: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    count, failed = failures(capsys, running, 20, [name])
    assert (count > 10, failed) == (True, [])


def test_weights_are_read_whole_though_they_are_saved_anew(running: Path) -> None:
    seen = set()
    for _ in range(25):
        values = read_weights(str(running / BEST))[1]["weight"]
        assert len(set(values.tolist())) == 1
        seen.add(values[0])
    assert len(seen) > 1


def test_damage_is_told_of_at_once_and_a_removal_as_such(tmp_path: Path) -> None:
    record = tmp_path / "run_step1.pdstates"
    record.write_text("{}")
    looks = []

    def damaged() -> None:
        looks.append(1)
        raise Damaged("it is damaged")

    def removed() -> None:
        record.unlink()
        raise Damaged("a file of it is missing")

    def saved_anew() -> str:
        looks.append(1)
        if len(looks) < 4:
            record.write_text("{}" * len(looks))
            raise CheckpointError("the digest does not match")
        return "whole"

    with pytest.raises(Damaged):
        settled([tmp_path / "run_step1"], damaged)
    assert len(looks) == 1
    assert settled([tmp_path / "run_step1"], saved_anew) == "whole"
    with pytest.raises(Removed):
        settled([tmp_path / "run_step1"], removed)


@pytest.mark.parametrize("begins", ["in the look", "before it"])
def test_a_rename_while_it_is_looked_whether_there_was_one_is_no_damage(
    begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, waiting = tmp_path / "run_step1.pdstates", tmp_path / ".run_step1.pdstates.tmp"
    record.write_text("{}")
    looks = []
    if begins == "before it":
        waiting.write_text("{ }")

    def look() -> str:
        looks.append(1)
        if len(looks) > 1:
            return "whole"
        waiting.write_text("{ }") if begins == "in the look" else None
        raise CheckpointError("the digest does not match")

    def identity_then_rename(path: Path) -> Any:
        found = identity(path)
        if looks and waiting.exists():
            waiting.rename(record)
        return found

    identity = settling._identity
    monkeypatch.setattr(settling, "_identity", identity_then_rename)
    assert settled([tmp_path / "run_step1"], look) == "whole"
    assert len(looks) == 2 and not waiting.exists()


def test_the_race_is_there_without_looking_again(
    running: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with a single look, what retention does is taken for damage."""
    monkeypatch.setattr("paddle_resume.toolbox.checkpoint_source.settled", lambda prefixes, look: look())
    end = time.monotonic() + 60
    while time.monotonic() < end:
        code, said = call(capsys, running, "verify", "{folder}", "--json")
        if code != 0:
            assert any(one["problems"] for one in json.loads(said))
            return
    pytest.fail("no look met a removal: the test beside this one proves nothing")
