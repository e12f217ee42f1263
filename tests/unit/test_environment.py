"""The set-up before Paddle is imported, and what is said where there is no Paddle."""

import os
import subprocess
import sys
from pathlib import Path

from paddle_resume.environment import Environment

HIDE_PADDLE = (
    "import importlib.util as util, sys\n"
    "find = util.find_spec\n"
    "util.find_spec = lambda name, *rest: None if name == 'paddle' else find(name, *rest)\n"
)


def python(code, **variables):
    as_given = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**as_given, **variables})


def test_importing_without_paddle_says_in_one_line_which_extra_to_install():
    said = python(HIDE_PADDLE + "import paddle_resume").stderr.strip().splitlines()[-1]
    assert "PaddlePaddle is not installed: run `pip install 'paddle_resume[cpu]'`" in said


def test_a_command_without_paddle_says_only_that_line_and_ends_with_2():
    done = python(HIDE_PADDLE + "sys.argv = ['tools/train.py', '-c', 'x.yaml']\nimport paddle_resume.cli")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: PaddlePaddle is not installed")


def test_threads_are_set_before_paddle_is_imported_unless_the_environment_says_otherwise():
    code = "import paddle_resume, os; print(os.environ['OMP_NUM_THREADS'])"
    assert int(python(code).stdout) >= 1
    assert python(code, OMP_NUM_THREADS="7").stdout.strip() == "7"


def test_nothing_is_set_once_paddle_is_imported():
    code = "import sys; sys.modules['paddle'] = sys; import os, paddle_resume; print('OMP_NUM_THREADS' in os.environ)"
    assert python(code).stdout.strip() == "False"


def test_each_difference_of_the_environment_is_told_with_both_values():
    environment = Environment()
    then = {**environment.state_dict(), "paddle": "1.8.5", "OMP_NUM_THREADS": "64", "os": "another"}
    now = environment.state_dict()
    assert list(map(str, environment.differences(then))) == [
        f"environment paddle: 1.8.5 -> {now['paddle']}",
        f"environment OMP_NUM_THREADS: 64 -> {now['OMP_NUM_THREADS']}",
    ]
    assert environment.differences(now) == []


def test_a_start_does_not_wait_for_psutil():
    done = python("import paddle_resume, sys; print('psutil' in sys.modules)")
    assert done.stdout.strip() == str(not any(Path("/sys/devices/system/cpu").glob("cpu*/topology/core_cpus_list")))


def test_to_tell_the_environment_starts_no_program():
    done = python(
        "from paddle_resume.environment import Environment\n"
        "import sys, paddle\n"
        "sys.addaudithook(lambda event, args: event == 'subprocess.Popen' and print('started'))\n"
        "print(Environment().state_dict()['os'])"
    )
    assert done.stdout.startswith("Linux-") and "started" not in done.stdout, done.stdout + done.stderr
