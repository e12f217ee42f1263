"""Trainings under `tools/run.py`: killed and stopped again and again, they end with the same bits."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from places import PROGRAMS
from supervising import BEATING, all_are_gone, run, start, starts, wait_until

from paddle_resume.supervision.heartbeat import FOLDER_VARIABLE, Beat, read_beats
from paddle_resume.testing import first_differences

TRAINING = [sys.executable, str(PROGRAMS / "train_digits.py"), "--dropout", "0.3"]


def test_sigterm_is_passed_on_and_the_training_saves_and_leaves(tmp_path: Path) -> None:
    process = start(tmp_path, "--", *TRAINING, "--pause", "0.1")
    wait_until(lambda: (tmp_path / "checkpoint" / "digits_step3.pdstates").exists())
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert re.search("Run the same (command|program) again to continue", said)
    assert "restart" not in said


def test_ranks_of_paddles_launcher_are_watched_and_restarted(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "ranks"]
    options = ["--by", "1", "--trouble", "hang", "--times", "1", "--at", "3"]
    result = run(tmp_path, "--hang-timeout", "2", "--grace", "5", "--", *launch, BEATING[1], *options)
    assert result.returncode == 0, result.stderr
    assert "no sign of life from rank 1 (step 3, hang" in result.stderr
    assert "in wait_for_the_others" in result.stderr
    assert [len(starts(tmp_path, rank)) for rank in (0, 1)] == [2, 2]
    assert all_are_gone(tmp_path)


@pytest.mark.parametrize("times", [pytest.param(2, marks=pytest.mark.full), pytest.param(6, marks=pytest.mark.full)])
def test_a_training_killed_and_stopped_at_random_under_supervision_ends_with_the_bits_of_an_untouched_one(
    times: int, tmp_path: Path
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
    training = [*TRAINING, "--pause", "0.15"]
    subprocess.run(training, cwd=straight, check=True, capture_output=True)
    draw = random.Random(times)
    options = ["--crash-loop", "20", "--max-restarts", "20", "--hang-timeout", "2"]
    process = start(killed, *options, "--", *training)
    for i in range(times):
        signum = (signal.SIGKILL, signal.SIGSTOP)[i % 2]
        beat = _beat_of_the_next_attempt(process.pid)
        time.sleep(draw.random() * 0.3)
        os.kill(beat.pid, signum)
        wait_until(lambda pid=beat.pid: not psutil.pid_exists(pid))  # type: ignore[misc]
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert len(re.findall(r"^run: ended with SIGKILL at step \d+; restart", said, re.MULTILINE)) == (times + 1) // 2
    assert len(re.findall(r"^run: hung and was ended at step \d+; restart", said, re.MULTILINE)) == times // 2
    assert len(re.findall(r", stopped\) for \d+ s; ending the command", said)) == times // 2
    assert first_differences(straight, killed) == []


def _beat_of_the_next_attempt(supervisor: int) -> Beat:
    """The heartbeat of the training that the supervisor runs, once there is one."""
    found: list[Beat] = []

    def has_beaten() -> bool:
        for child in psutil.Process(supervisor).children():
            with suppress(psutil.Error, KeyError):  # It has just ended, or just begun.
                found.extend(read_beats(Path(child.environ()[FOLDER_VARIABLE])))
        return bool(found)

    wait_until(has_beaten)
    return found[0]


def test_an_elastic_run_that_lost_a_process_goes_on_with_what_is_left_and_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    elastic = [str(PROGRAMS / "train_elastic.py"), "--nets", "dropout"]
    straight, lost = tmp_path / "straight", tmp_path / "lost"
    for folder in (straight, lost):
        folder.mkdir()
    subprocess.run([sys.executable, *elastic], cwd=straight, check=True, capture_output=True)
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "{processes}", "--log_dir", "logs"]
    # Only the first attempt has a rank 3.
    doomed = [*launch, *elastic, "--doom", "3", "6", "kill", "exchange"]
    result = run(lost, "--max-processes", "4", "--grace", "5", "--", *doomed, seconds=120)
    assert result.returncode == 0, result.stderr
    said = re.findall(r"^run: .*; restart 1 of 10 in 0.1 s, with (\d) of 4 processes, since (\d) (?:was|were) lost\.$",
                      result.stderr, re.MULTILINE)  # fmt: skip
    assert said == [("2", "1")], result.stderr
    assert first_differences(straight, lost) == []
