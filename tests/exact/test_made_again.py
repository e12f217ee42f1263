"""Steps that a resume makes again after a real kill are compared with the first time, and what differs is told."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from forking import run
from places import PROGRAMS
from ranks import Ended, start_ranks, wait_for

from paddle_resume.checkpoint.reader import load
from paddle_resume.storage.fingerprint_file import FingerprintFile
from paddle_resume.testing import first_differences

PROGRAM = PROGRAMS / "train_again.py"
# Saves every 3 steps and after each epoch of 5: a run that dies before step 8 has made 6 and 7 since its last save.
KNOWN = [5, 6, 7]  # Step 5 had to be known until the save after it was durable.
SAME = "Made again: 6-7, the same bits."


def life(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return run([PROGRAM, *options], folder)


def fingerprints(folder: Path) -> Path:
    return folder / "checkpoint" / ".model.steps"


def steps_in(path: Path) -> list[int]:
    return [one.step for one in FingerprintFile(path).read()[0]]


def newest(folder: Path) -> Any:
    return load(folder / "checkpoint" / "model_epoch2").record


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    assert life(folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died before step 8; to be copied."""
    folder = tmp_path_factory.mktemp("killed")
    assert life(folder, "--kill", 8).returncode == -signal.SIGKILL
    return folder


@pytest.fixture
def again(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "again"))


def test_the_steps_since_the_last_save_are_made_again_and_said_to_be_the_same(again: Path, straight: Path) -> None:
    assert steps_in(fingerprints(again)) == KNOWN
    ended = life(again)
    assert ended.returncode == 0 and ended.stderr.count("Made again") == 1 and SAME in ended.stderr
    assert not fingerprints(again).exists()
    assert first_differences(straight, again) == []
    assert newest(again).exact


def test_nothing_is_said_and_nothing_left_where_nothing_was_made_again(tmp_path: Path) -> None:
    stopped = life(tmp_path / "a", "--stop", 8)
    assert stopped.returncode == 143 and not fingerprints(tmp_path / "a").exists()
    assert "Made again" not in life(tmp_path / "a").stderr


DIFFERENCES = {
    "data": (6, "its data are not the same"),
    "random": (7, "its data are the same, what it drew from the generators is not"),
    "loss": (7, r"its data and what it drew from the generators are the same, its loss is not \(0\.\d+ -> 0\.\d+\)"),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_what_differs_is_named_stops_the_run_and_harms_no_checkpoint(what: str, again: Path) -> None:
    step, said = DIFFERENCES[what]
    before = {path.name: path.read_bytes() for path in (again / "checkpoint").glob("model_*")}
    ended = life(again, "--differ", what)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert re.search(rf"^error: Step {step} .* came out otherwise: {said}\. .*allow_inexact=True", ended.stderr, re.M)
    assert ("6 came out the same before it" in ended.stderr) == (step == 7)
    assert {path.name: path.read_bytes() for path in (again / "checkpoint").glob("model_*")} == before
    # The same command is stopped again, and without the difference the run is as it would have been.
    assert life(again, "--differ", what).returncode == 2
    assert SAME in life(again).stderr and newest(again).exact


@pytest.mark.parametrize("what", DIFFERENCES)
def test_what_differs_may_be_allowed_and_is_said_and_kept_in_the_lineage(what: str, again: Path) -> None:
    step, said = DIFFERENCES[what]
    ended = life(again, "--differ", what, "--allow-inexact")
    assert ended.returncode == 0 and len(re.findall("came out otherwise", ended.stderr)) == 1
    assert "Made again" not in ended.stderr
    record = newest(again)
    [event] = [event for event in record.lineage if event["event"] == "inexact"]
    assert not record.exact and event["step"] == step and re.search(said, event["differences"][0])


def test_after_an_allowed_difference_the_new_course_is_what_is_compared(again: Path) -> None:
    # Differs in step 7, saves step 9 and dies before step 11.
    allowed = life(again, "--differ", "random", "--allow-inexact", "--kill", 11)
    assert allowed.returncode == -signal.SIGKILL and "came out otherwise" in allowed.stderr
    ended = life(again)
    assert ended.returncode == 0 and "Made again: 10, the same bits." in ended.stderr
    assert not newest(again).exact


def test_a_kill_while_steps_are_made_again_forgets_none_and_notes_none_twice(again: Path) -> None:
    assert life(again, "--kill", 7).returncode == -signal.SIGKILL
    assert steps_in(fingerprints(again)) == KNOWN
    assert life(again, "--differ", "loss").returncode == 2
    assert SAME in life(again).stderr


def test_a_longer_run_is_compared_still(again: Path) -> None:
    assert SAME in life(again, "--epochs", 4).stderr


def test_a_fresh_start_compares_with_nothing(again: Path) -> None:
    for path in (again / "checkpoint").glob("model_*"):
        path.unlink()
    ended = life(again, "--differ", "data")
    assert ended.returncode == 0 and "again" not in ended.stderr


@pytest.mark.parametrize(
    "options",
    [("--accumulate", 2), ("--stream",), ("--workers", 2)],
    ids=["accumulation", "stream", "workers"],
)
def test_other_ways_to_a_step_come_out_the_same_too_and_other_data_in_them_are_seen(
    options: tuple[object, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert life(folder, *options, "--kill", 8).returncode == -signal.SIGKILL
    known = steps_in(fingerprints(folder))
    last = known[-1]
    assert last == 7
    ended = life(folder, *options, "--differ", "data")
    # A stream is read again up to there, which comes first.
    told = "gives other samples now" if "--stream" in options else "its data are not the same"
    assert ended.returncode == 2 and told in ended.stderr
    assert re.search(r"Made again: (6-)?7, the same bits\.", life(folder, *options).stderr)


def test_a_rollback_takes_another_course_which_is_compared_with_itself_alone(tmp_path: Path) -> None:
    options = ("--on-nan", "rollback", "--differ", "nan", "--at", 7)
    # NaN in step 7: back to 6, and on with half the rate; the weights are ruined there again, and a third time.
    folder = tmp_path / "run"
    first = life(folder, *options)
    assert first.returncode == 2 and first.stderr.count("Went back") == 3
    assert "otherwise" not in first.stderr
    second = life(folder, *options)
    assert second.returncode == 2 and "otherwise" not in second.stderr
    assert second.stderr.count("Made again: 6, the same bits.") >= 1


def test_a_kill_within_a_background_save_leaves_all_that_may_be_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("--background", "--every-steps", 1, "--keep", 3)
    assert life(folder, *options, "--kill", 9).returncode == -signal.SIGKILL
    known = steps_in(fingerprints(folder))
    ended = life(folder, *options)
    assert ended.returncode == 0
    resumed = next(event for event in newest(folder).lineage if event["event"] == "resume")["step"]
    assert known[-1] == 8 and min(known) <= resumed
    assert ("Made again" in ended.stderr) == (resumed <= 8)


# ---------------------------------------------------------------- files that cannot be trusted


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-60] ^= 4
    path.write_bytes(content)


def noise(path: Path) -> None:
    path.write_bytes(os.urandom(500))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another_run(path: Path) -> None:
    found = FingerprintFile(path).read()[0]
    FingerprintFile(path).rewrite([one._replace(course=one.course ^ 1, data=0) for one in found])


@pytest.mark.parametrize(
    ("harm", "told", "made_again"),
    [
        (torn, "", "6"),
        (flipped, "1 of its 3 entries cannot be read", "7"),
        (noise, "cannot be read", ""),
        (empty, "", ""),
        (a_folder, "Is a directory", ""),
        (of_another_run, "", ""),
    ],
)
def test_a_harmed_file_is_told_of_in_a_line_and_stops_nothing(
    harm: Any, told: str, made_again: str, again: Path, straight: Path
) -> None:
    harm(fingerprints(again))
    ended = life(again)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr
    assert first_differences(straight, again) == []
    expected = [f"Made again: {made_again}, the same bits."] if made_again else []
    lines = [line for line in ended.stderr.splitlines() if line.strip() and "Warning" not in line]
    assert [line for line in lines if "Made again" in line] == expected
    assert bool(told) == any(".model.steps" in line for line in lines) and told in ended.stderr


# ---------------------------------------------------------------- going back on purpose


def test_a_run_goes_back_on_purpose_compares_and_ends_as_if_it_had_not(straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert life(folder, "--stop", 8, "--check-resume", 4).returncode == 143
    shutil.copytree(folder, tmp_path / "other")
    ended = life(folder, "--check-resume", 4)
    # Step 8 was stopped after its end, so that 9 were made: the checkpoint of step 5 is four behind.
    assert ended.returncode == 0 and "goes back to checkpoint/model_epoch0" in ended.stderr
    assert "Made again: 5-8, the same bits." in ended.stderr
    assert first_differences(straight, folder) == []
    other = life(tmp_path / "other", "--check-resume", 4, "--differ", "loss", "--at", 5)
    assert other.returncode == 2 and "Step 5 " in other.stderr


def test_a_run_that_has_no_checkpoint_so_far_back_goes_back_as_far_as_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert life(folder, "--stop", 8, "--check-resume", 100).returncode == 143
    ended = life(folder, "--check-resume", 100)
    assert ended.returncode == 0 and "Made again: 5-8, the same bits." in ended.stderr
    assert "goes back" not in life(folder, "--check-resume", 100).stderr


# ---------------------------------------------------------------- several processes


def ranks(folder: Path, *options: object) -> Ended:
    return wait_for(start_ranks(folder, 2, *options, program=PROGRAM), time.monotonic())


def test_two_processes_compare_stop_and_go_on_together(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    died = ranks(folder, "--kill", 8)
    assert not died.good
    assert steps_in(folder / "checkpoint" / ".model.steps.1") == KNOWN
    # Only rank 1 draws otherwise: both stop, and with leave both go on.
    other = ranks(folder, "--differ", "random", "--rank", 1)
    assert other.statuses == [2, 2] and other.seconds < 30, other.explain()
    assert any("Step 7 (counted from 0) was made again and came out otherwise" in each for each in other.outputs)
    shutil.copytree(folder, tmp_path / "allowed")
    same = ranks(folder)
    assert same.good and SAME in same.outputs[0], same.explain()
    assert not list((folder / "checkpoint").glob(".model.steps*"))
    allowed = ranks(tmp_path / "allowed", "--differ", "random", "--rank", 1, "--allow-inexact")
    assert allowed.good and not newest(tmp_path / "allowed").exact, allowed.explain()
