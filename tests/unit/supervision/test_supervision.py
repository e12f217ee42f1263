"""Keeping a command running: real processes that crash, hang, are stopped and killed, under `tools/run.py`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from supervising import BEATING, RUN, all_are_gone, run, start, starts, wait_until

from paddle_resume.supervision.crashes import Crashes, Ending, describe_status


@pytest.mark.parametrize("code", [0, 2])
def test_a_command_that_is_done_or_met_a_users_mistake_is_not_started_again(code: int, tmp_path: Path) -> None:
    result = run(tmp_path, "--", "bash", "-c", f"echo once >> starts; exit {code}")
    assert result.returncode == code
    assert (tmp_path / "starts").read_text() == "once\n"
    assert ("restart would not mend" in result.stderr) == (code == 2)


def test_a_crash_is_told_and_the_command_started_again(tmp_path: Path) -> None:
    result = run(tmp_path, "--", *BEATING, "--trouble", "kill", "--times", "2", "--further", "1")
    assert result.returncode == 0, result.stderr
    assert "run: ended with SIGKILL at step 5; restart 1 of 10 in 0.1 s." in result.stderr
    assert "run: ended with SIGKILL at step 6; restart 2 of 10 in 0.1 s." in result.stderr
    assert len(starts(tmp_path)) == 3


def test_restarts_are_counted(tmp_path: Path) -> None:
    result = run(tmp_path, "--max-restarts", "1", "--", *BEATING, "--trouble", "kill", "--further", "1")
    assert result.returncode == 128 + signal.SIGKILL
    assert "no restart is left of 1" in result.stderr
    assert len(starts(tmp_path)) == 2


def test_a_crash_loop_is_recognized_and_reported(tmp_path: Path) -> None:
    result = run(tmp_path, "--", *BEATING, "--trouble", "raise", "--at", "7")
    assert result.returncode == 2
    assert len(starts(tmp_path)) == 3
    report = result.stderr[result.stderr.index("error:") :]
    assert "crashed 3 times in a row without getting past step 7" in report
    assert "attempt 3 of these ended with exit code 1 at step 7" in report
    assert "RuntimeError: step 7 cannot be made" in report
    assert "look at what is special in it" in report
    # The pause grows, since nothing got any further.
    assert "restart 1 of 10 in 0.1 s" in result.stderr
    assert "restart 2 of 10 in 0.2 s" in result.stderr


def test_crashes_that_get_further_each_time_are_no_loop(tmp_path: Path) -> None:
    result = run(tmp_path, "--", *BEATING, "--trouble", "raise", "--times", "4", "--further", "1", "--at", "2")
    assert result.returncode == 0, result.stderr
    assert len(starts(tmp_path)) == 5


def test_crashes_without_a_step_are_a_loop_too() -> None:
    crashes = Crashes(2)
    crashes.note(Ending(1))
    assert not crashes.is_loop
    crashes.note(Ending(-9))
    assert crashes.is_loop
    assert "without coming to a step" in str(crashes.error())
    assert "dmesg" in str(crashes.error())


def test_crashes_at_different_steps_before_the_furthest_are_a_loop_with_other_advice() -> None:
    crashes = Crashes(3)
    for step in (1900, 1500, 1600):
        crashes.note(Ending(-11, step))
    assert crashes.is_loop
    assert "save more often" in str(crashes.error())


@pytest.mark.parametrize(
    ("status", "text"),
    [(1, "exit code 1"), (-9, "SIGKILL"), (137, "exit code 137 (SIGKILL)"), (245, "exit code 245 (SIGSEGV)")],
)
def test_statuses_are_told_by_name(status: int, text: str) -> None:
    assert describe_status(status) == text


def test_a_command_that_is_not_there_is_an_error_of_one_paragraph(tmp_path: Path) -> None:
    result = run(tmp_path, "--", "no-such-program")
    assert result.returncode == 2
    assert result.stderr.startswith("error: The command 'no-such-program' could not be started")
    assert "Traceback" not in result.stderr


def test_the_command_gets_the_environment_that_was_given(tmp_path: Path) -> None:
    command = ["--", sys.executable, "-c", "import os; print(os.environ.get('OMP_NUM_THREADS'))"]
    given = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")}
    for environment, expected in ((given, "None"), ({**given, "OMP_NUM_THREADS": "7"}, "7")):
        result = subprocess.run([*RUN, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.stdout.strip() == expected


@pytest.mark.parametrize("trouble", ["stop", "hang"])
def test_a_rank_that_hangs_is_named_with_its_stack_and_all_ranks_are_ended(trouble: str, tmp_path: Path) -> None:
    options = ["--ranks", "2", "--by", "1", "--trouble", trouble, "--times", "1", "--steps", "12"]
    result = run(tmp_path, "--hang-timeout", "2", "--grace", "1", "--", *BEATING, *options)
    assert result.returncode == 0, result.stderr
    assert f"no sign of life from rank 1 (step 5, {trouble}, pid {starts(tmp_path, 1)[0]}, " in result.stderr
    assert "where rank 1 stands:" in result.stderr
    assert re.search(rf"beating\.py.* in {'wait_for_the_others' if trouble == 'hang' else 'main'}", result.stderr)
    if trouble == "stop":
        assert ", stopped) for " in result.stderr
    assert "hung and was ended at step" in result.stderr
    assert [len(starts(tmp_path, rank)) for rank in (0, 1)] == [2, 2]
    assert all_are_gone(tmp_path)


def test_a_rank_that_hangs_and_takes_no_notice_of_sigterm_is_killed(tmp_path: Path) -> None:
    options = ["--trouble", "hang", "--times", "1", "--deaf"]
    result = run(tmp_path, "--hang-timeout", "1", "--grace", "0.3", "--", *BEATING, *options)
    assert result.returncode == 0, result.stderr
    assert len(starts(tmp_path)) == 2
    assert all_are_gone(tmp_path)


def test_a_command_that_never_gives_a_sign_of_life_is_ended(tmp_path: Path) -> None:
    options = ["--max-restarts", "0", "--start-timeout", "1", "--hang-timeout", "1"]
    result = run(tmp_path, *options, "--", "sleep", "600")
    assert result.returncode == 128 + signal.SIGTERM
    assert "no rank has given a sign of life within 1 s of the start" in result.stderr


def test_a_slow_step_within_the_limit_is_no_hang(tmp_path: Path) -> None:
    result = run(tmp_path, "--hang-timeout", "2.5", "--", *BEATING, "--steps", "2", "--pause", "1")
    assert result.returncode == 0
    assert result.stderr == ""


def test_ranks_that_lost_their_parent_are_ended_before_the_restart(tmp_path: Path) -> None:
    options = ["--ranks", "2", "--trouble", "kill", "--times", "1", "--steps", "8"]
    result = run(tmp_path, "--", *BEATING, *options, "--pause", "0.05")
    assert result.returncode == 0, result.stderr
    assert all_are_gone(tmp_path)
    assert result.stderr.count("restart") == 1
    assert len(starts(tmp_path, 1)) == 2
    assert int((tmp_path / "steps1").read_text()) == 8


def test_ctrl_c_is_passed_on_and_not_taken_for_a_crash(tmp_path: Path) -> None:
    process = start(tmp_path, "--", *BEATING, "--steps", "6000")
    wait_until(lambda: (tmp_path / "steps0").exists())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "KeyboardInterrupt" in said
    assert "restart" not in said


def test_a_signal_while_it_waits_to_restart_ends_the_wait(tmp_path: Path) -> None:
    process = start(tmp_path, "--pause", "60", "--", *BEATING, "--trouble", "kill")
    assert process.stderr is not None
    assert "restart 1 of 10 in 60 s" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=5)
    assert process.returncode == 143


def test_when_the_supervisor_itself_is_killed_the_command_gets_sigterm(tmp_path: Path) -> None:
    process = start(tmp_path, "--", *BEATING, "--steps", "6000")
    wait_until(lambda: (tmp_path / "steps0").exists())
    process.kill()
    process.communicate(timeout=5)
    wait_until(lambda: all_are_gone(tmp_path), 5)
