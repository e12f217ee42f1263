"""The heartbeat: what a rank tells of itself, when it is written, and that it never disturbs a training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paddle_resume.supervision.heartbeat import FOLDER_VARIABLE, Heartbeat, read_beats


def test_a_heartbeat_tells_step_phase_and_process(tmp_path: Path) -> None:
    Heartbeat(tmp_path, 3).beat(7, "evaluate")
    (beat,) = read_beats(tmp_path)
    assert (beat.rank, beat.step, beat.phase, beat.pid) == (3, 7, "evaluate", os.getpid())
    assert abs(beat.time - time.time()) < 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rank3", "rank3.step"]


def test_a_heartbeat_is_written_once_in_a_while_and_when_the_phase_changes(tmp_path: Path) -> None:
    heart = Heartbeat(tmp_path, every=0.3)
    heart.beat(0, "train")
    (first,) = read_beats(tmp_path)
    for step in range(1, 5):
        heart.beat(step, "train")
    (second,) = read_beats(tmp_path)
    assert (second.time, second.step) == (first.time, 4), "the file is left alone, and the step is exact all the same"
    heart.beat(5, "evaluate")
    (third,) = read_beats(tmp_path)
    assert (third.step, third.phase) == (5, "evaluate")
    time.sleep(0.35)
    heart.beat(5, "evaluate")
    assert read_beats(tmp_path)[0].time > third.time, "the same step again is a sign of life all the same"


def test_without_a_supervisor_a_heartbeat_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    heart = Heartbeat.from_environment(0)
    heart.beat(1, "train")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_a_heartbeat_whose_folder_is_gone_ends_no_training(tmp_path: Path) -> None:
    Heartbeat(tmp_path / "gone", 0).beat(1, "train")


def test_a_reader_never_sees_half_a_heartbeat(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from paddle_resume.supervision.heartbeat import Heartbeat\n"
        "heart = Heartbeat(Path(sys.argv[1]), every=0.0)\n"
        "for step in range(2000): heart.beat(step, str(step) * (step % 50 + 1))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    seen = set()
    while process.poll() is None:
        if (tmp_path / "rank0").exists():
            beat = json.loads((tmp_path / "rank0").read_text())
            assert beat["phase"] == str(beat["step"]) * (beat["step"] % 50 + 1)
            seen.add(beat["step"])
    assert process.returncode == 0
    assert len(seen) > 3


def test_supervision_needs_no_paddle() -> None:
    modules = "paddle_resume.supervision.supervisor, paddle_resume.checkpoint.catalog, paddle_resume.cli"
    code = f"import sys, {modules}; sys.exit('paddle' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
