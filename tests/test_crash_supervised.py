"""Trainings under `tools/run.py`: killed again and again, they end with the same bits; and Paddle's launcher under it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from supervising import BEATING, ROOT, all_are_gone, run, start, starts, wait_until

from paddle_resume.testing import first_differences

TRAINING = [sys.executable, str(ROOT / "tests" / "programs" / "train_digits.py"), "--dropout", "0.3"]


def test_sigterm_is_passed_on_and_the_training_saves_and_leaves(tmp_path: Path) -> None:
    process = start(tmp_path, "--", *TRAINING, "--pause", "0.1")
    wait_until(lambda: (tmp_path / "checkpoint" / "digits_step3.pdstates").exists())
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Run the same command again to continue." in said
    assert "restart" not in said


def test_ranks_of_paddles_launcher_are_watched_and_restarted(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "ranks"]
    options = ["--by", "1", "--trouble", "hang", "--times", "1", "--at", "3"]
    result = run(tmp_path, "--hang-timeout", "1.5", "--grace", "5", "--", *launch, BEATING[1], *options)
    assert result.returncode == 0, result.stderr
    assert "no sign of life from rank 1 (step 3, hang" in result.stderr
    assert "in wait_for_the_others" in result.stderr
    assert [len(starts(tmp_path, rank)) for rank in (0, 1)] == [2, 2]
    assert all_are_gone(tmp_path)


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.full)])
def test_a_training_killed_at_random_under_supervision_ends_with_the_bits_of_an_untouched_one(
    kills: int, tmp_path: Path
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
    subprocess.run(TRAINING, cwd=straight, check=True, capture_output=True)
    draw = random.Random(kills)
    options = ["--save-dir", "checkpoint", "--crash-loop", "20", "--max-restarts", "20"]
    process = start(killed, *options, "--", *TRAINING, "--pause", "0.06")
    for reached in sorted(draw.sample(range(1, 15), kills)):
        wait_until(lambda reached=reached: _newest_step(killed) >= reached)  # type: ignore[misc]
        time.sleep(draw.random() * 0.15)
        wait_until(lambda: bool(psutil.Process(process.pid).children()))
        (trainer,) = psutil.Process(process.pid).children()
        trainer.kill()
        trainer.wait(10)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said.count("run: ended with SIGKILL ") == kills
    assert first_differences(straight, killed) == []


def _newest_step(folder: Path) -> int:
    """The step that the logs have come to: more often written than a checkpoint."""
    path = folder / "log" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    steps = [json.loads(line)["step"] for line in lines if line.endswith("}") and "train/loss" in line]
    return max(steps, default=0)
