"""Ctrl-C and SIGTERM end a real process with the usual code, saved at a step boundary."""

import re
import signal
import subprocess
import sys
import time

import forking
import pytest
from places import PROGRAMS

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.loggers import read_records, read_scalars

PROGRAM = str(PROGRAMS / "train_digits.py")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    forking.run([PROGRAM, "--dropout", "0.3"], folder).check_returncode()
    return folder


def _wait_for(path, process, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the program ended before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.02)


def _same_results(one, other):
    assert (one / "digits.pdparams").read_bytes() == (other / "digits.pdparams").read_bytes()
    for suffix in (".pdparams", ".pdopt"):
        ours, theirs = (folder / "checkpoint" / f"digits_epoch1{suffix}" for folder in (one, other))
        assert ours.read_bytes() == theirs.read_bytes()
    assert read_scalars(one / "log/vdlrecords.digits.log") == read_scalars(other / "log/vdlrecords.digits.log")
    assert read_records(one / "log/metrics.jsonl") == read_records(other / "log/metrics.jsonl")


@pytest.mark.parametrize(
    ("signals", "code", "after"),
    [
        pytest.param([signal.SIGINT], -signal.SIGINT, "digits_step3", marks=pytest.mark.full),
        ([signal.SIGTERM] * 3, 128 + signal.SIGTERM, "digits_step3"),
        ([signal.SIGTERM], 128 + signal.SIGTERM, "digits_epoch0"),  # during the evaluation that follows
    ],
)
def test_a_signal_saves_the_step_and_the_same_command_continues_exactly(signals, code, after, straight, tmp_path):
    process = forking.start([PROGRAM, "--dropout", "0.3", "--pause", "0.15"], tmp_path)
    _wait_for(tmp_path / f"checkpoint/{after}.pdstates", process)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert re.search("Run the same (command|program) again to continue", said)
    newest = find_all(tmp_path / "checkpoint")[0].record
    assert f"Stopped after step {newest.step}." in said
    assert newest.step < 16
    forking.run([PROGRAM, "--dropout", "0.3"], tmp_path).check_returncode()
    _same_results(straight, tmp_path)


def test_a_run_that_ends_while_its_data_workers_still_live_ends_all_the_same(tmp_path):
    # Forked after the writer's process was connected, they hold that connection open too.
    options = ["--data", "augmented", "--workers", "2", "--max-steps", "3"]
    subprocess.run([sys.executable, PROGRAM, *options], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert find_all(tmp_path / "checkpoint")[0].record.phase == "done"


def test_a_signal_with_data_workers_running_saves_and_ends(tmp_path):
    process = forking.start([PROGRAM, "--data", "augmented", "--workers", "2", "--pause", "0.15"], tmp_path)
    _wait_for(tmp_path / "checkpoint/digits_step3.pdstates", process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search("Run the same (command|program) again to continue", said)
