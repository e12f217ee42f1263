"""`prove --repeat`: where two runs are not the same it finds the step and the place in it, and else nothing."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import forking
import pytest
from places import PROGRAMS

from paddle_resume.cli import main
from paddle_resume.testing import config_program
from paddle_resume.testing import repeat as repeat_module

CONFIG = """
run: {name: odd}
model: {name: "unrepeatable:Net"}
data: {name: "unrepeatable:Data", global_batch_size: 10, valid: 0.25}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 2, max_steps: 4, log_every: 2}
"""
BEGINNING = ["data", "generators", "weights before", "optimizer before"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with c.yaml and what it names; lives are forked from the servers of all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_program, "ForkServers", lambda: nullcontext(forking.servers()))
    (tmp_path / "c.yaml").write_text(CONFIG)
    shutil.copy(PROGRAMS / "unrepeatable.py", tmp_path)
    return tmp_path


def repeat(*options: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["prove", "-c", "c.yaml", "--repeat", *options])
    return int(end.value.code or 0)


def found(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, Any], str]:
    """What two runs that are not the same come to, and what was said besides."""
    assert repeat("--json", *options) == 1
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_a_sound_config_has_the_same_bits_and_leaves_nothing(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    before = {path.name for path in here.iterdir()}
    assert repeat() == 0
    said = capsys.readouterr().out
    assert said == "Running once.\nRunning again.\nTwo runs, 4 steps: the same bits.\n"
    assert {path.name for path in here.iterdir()} - {"__pycache__"} == before


@pytest.mark.parametrize(
    ("options", "step", "first", "before"),
    [
        pytest.param(("model.how=forward",), 2, "forward odd (Odd)", "forward first (Linear)", marks=pytest.mark.full),
        (("model.how=backward",), 2, "backward odd (Odd)", "backward act (Tanh)"),
        pytest.param(("model.how=dropout",), 2, "forward odd (Odd)", "forward first (Linear)", marks=pytest.mark.full),
        pytest.param(("model.how=between",), 0, "input act (Tanh)", "forward odd (Odd)", marks=pytest.mark.full),
        (("data.odd=5", "data.shuffle=false"), 0, "data entry 0", None),
    ],
    ids=["forward", "backward", "dropout", "between two layers", "data"],
)
def test_what_is_not_repeatable_is_found_at_its_place(
    options: tuple[str, ...], step: int, first: str, before: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, said = found(capsys, *(word for option in options for word in ("-o", option)))
    assert (outcome["first_step"], outcome["first"], outcome["located"]) == (step, first, True), said
    assert f"Two runs differ, first in step {step} (the first step is 0): {first}." in said
    labels = [f"{row['kind']} {row['what']}".strip() for row in outcome["rows"]]
    place = labels.index(first)
    assert all(row["same"] for row in outcome["rows"][:place])
    assert before is None or labels[place - 1] == before


@pytest.mark.full
@pytest.mark.parametrize(
    ("callback", "kind"), [("Draws", "generators numpy"), ("Nudges", "weights before second.bias")]
)
def test_what_a_callback_changes_between_two_steps_is_found_as_the_next_one_begins(
    callback: str, kind: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (here / "c.yaml").open("a") as file:
        file.write(f'callbacks: [{{name: "unrepeatable:{callback}"}}]\n')
    outcome, said = found(capsys)
    assert (outcome["first_step"], outcome["first"]) == (2, kind), said


@pytest.mark.full
def test_a_difference_that_does_not_come_again_is_told_as_chance(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat_module, "_ATTEMPTS", 2)
    assert repeat("-o", "model.how=once") == 1
    said = capsys.readouterr().out
    assert "(attempt 2 of 2)" in said
    assert "Two runs differ, first in step 2 (the first step is 0): loss." in said
    assert "4 further runs did not part there: the difference comes by chance" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    for kind in BEGINNING:
        assert f"{kind} same" in lines
    assert "loss differs" in lines


@pytest.mark.full
@pytest.mark.parametrize("how", ["", "rank 1"])
def test_of_several_processes_the_one_is_named_in_which_it_begins(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not how:
        assert repeat("--processes", "2") == 0
        assert "Two runs, 4 steps of 2 processes: the same bits." in capsys.readouterr().out
        return
    outcome, said = found(capsys, "--processes", "2", "-o", f"model.how={how}")
    assert (outcome["first_step"], outcome["first"], outcome["process"]) == (2, "forward odd (Odd)", 1), said
    assert "Two runs differ, first in step 2, rank 1 (the first step is 0): forward odd (Odd)." in said


@pytest.mark.parametrize("options", [("--kills", "3"), ("--stops",)], ids=" ".join)
def test_what_belongs_to_interruptions_is_refused(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert repeat(*options) == 2
    assert capsys.readouterr().err == (
        "error: --repeat compares two runs that nothing interrupts; leave out --kills and --stops.\n"
    )


def test_a_config_that_cannot_run_is_one_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    assert repeat("-o", "model.since=x") == 2
    said = capsys.readouterr().err
    assert said == (
        "error: The config could not be run: the program ended with exit code 2: model Net, loss CrossEntropyLoss, "
        "metrics and data do not go together: a batch of [2, 1, 28, 28] float32, [2, 1] int64 failed "
        "(unrepeatable.py, line 37) with "
        "TypeError: '<' not supported between instances of 'int' and 'str'.\n"
    )
