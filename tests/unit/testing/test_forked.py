"""Forked programs: what a child finds and leaves is what a process of its own would, and none outlives its server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forking
import paddle
import psutil
import pytest
from places import PROGRAMS, ROOT

from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.forked import ForkServer, ForkServers
from paddle_resume.testing.kill_plan import Plan
from paddle_resume.testing.life import run_life, spawn

pytestmark = pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="where there may be a GPU nothing is forked")
PROGRAM = [str(PROGRAMS / "train_digits.py"), "--dropout", "0.3", "--data", "augmented"]


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return forking.run(["-c", code, *arguments], **environment)


# ---------------------------------------------------------------- the same as a process of its own


def test_a_forked_run_leaves_the_bits_of_a_spawned_one_and_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    for name, kill, start in (
        ("spawned", None, spawn),
        ("forked", None, forking.servers()),
        ("mixed", Kill("step", 4), spawn),
        ("mixed", Kill("step", 7), forking.servers()),
        ("mixed", None, spawn),
    ):
        plan = Plan(str(tmp_path / "report"), kill)
        assert run_life([*PROGRAM, "--max-steps", "9"], tmp_path / name, plan, timeout=300, start=start) == (
            kill is None
        )
    assert not (tmp_path / "report").exists()
    for name in ("forked", "mixed"):
        assert first_differences(tmp_path / "spawned", tmp_path / name) == []


def test_programs_of_the_tests_are_forked() -> None:
    """Else all of them would still be right, but slow."""
    assert python("import os; print(os.getppid())").stdout.strip() in map(str, map(pid_of, forking.servers()._servers))


@pytest.mark.parametrize("way", ["script", "-m", "-c"])
def test_a_program_finds_what_python_gives_it(way: str, tmp_path: Path) -> None:
    code = "import json, os, sys, beside\n"
    code += "print(json.dumps([sys.argv, sys.path, os.getcwd(), __name__, sys.stdin.read(), beside.x]))\n"
    code += "print('an error', file=sys.stderr)\nsys.exit(3)\n"
    (tmp_path / "beside.py").write_text("x = 1")
    (tmp_path / "shown.py").write_text(code)
    start = {"script": [str(tmp_path / "shown.py")], "-m": ["-m", "shown"], "-c": ["-c", code]}[way]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ours = forking.run([*start, "a", "b c"], tmp_path, PYTHONPATH=path)
    theirs = subprocess.run(
        [sys.executable, *start, "a", "b c"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert theirs.returncode == 3, theirs.stderr
    assert (ours.returncode, ours.stdout, ours.stderr) == (3, theirs.stdout, theirs.stderr)


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("pass", 0),
        ("import sys; sys.exit('text')", 1),
        ("1 / 0", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import atexit; atexit.register(print, 'last words')", 0),
    ],
)
def test_an_end_is_told_as_popen_tells_it(code: str, ended: int) -> None:
    done = python(code)
    assert done.returncode == ended
    assert ("last words" in done.stdout) == ("atexit" in code)
    assert ("ZeroDivisionError" in done.stderr) == ("/" in code)


def test_a_program_leaves_nothing_to_the_next() -> None:
    change = "import paddle, paddle_resume, numpy as np, os\n"
    change += "paddle.seed(1); paddle.nn.Linear(1, 1); np.random.seed(1); paddle_resume.mine = os.environ['MINE'] = '1'"
    show = "import paddle, paddle_resume, os\n"
    show += "print(paddle.nn.Linear(1, 1).weight.name, hasattr(paddle_resume, 'mine'), 'MINE' in os.environ)"
    for _ in forking.servers()._servers:
        assert python(change).returncode == 0
        assert python(show).stdout.split() == ["linear_0.w_0", "False", "False"]


def test_two_programs_share_no_randomness_and_two_in_a_row_no_seed_of_hashes() -> None:
    """A run that depends on either must not look exact because its lives come from one server."""
    code = "import random, numpy as np, paddle\n"
    code += "print(random.random(), np.random.rand(), paddle.rand([1]).item(), hash('x'))"
    drawn = [python(code).stdout.split() for _ in range(4)]
    for column in range(3):
        assert len({row[column] for row in drawn}) == 4
    assert drawn[0][3] != drawn[1][3] and drawn[2][3] != drawn[3][3]


def test_a_child_begins_with_the_one_thread_that_forked_it() -> None:
    code = "import os; print(len(os.listdir('/proc/self/task')))"
    # In Paddle 2.6 the sampler of bvar starts itself again in a child.
    assert int(python(code).stdout) == (2 if paddle.__version__.startswith("2.") else 1)


# ---------------------------------------------------------------- what is spawned instead


def test_what_python_or_paddle_read_at_their_start_makes_a_program_be_spawned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parent_and_threads() -> tuple[int, str]:
        with (tmp_path / "output").open("w+") as output:
            code = "import os, paddle_resume.environment as e; print(os.getppid(), os.environ['OMP_NUM_THREADS'])"
            assert forking.servers()(["-c", code], tmp_path, output).wait(60) == 0
            output.seek(0)
            parent, threads = output.read().split()[-2:]
        return int(parent), threads

    servers = set(map(pid_of, forking.servers()._servers))
    assert parent_and_threads()[0] in servers
    for name, value in (
        ("OMP_NUM_THREADS", "3"),
        ("MKL_CBWR", "COMPATIBLE"),
        ("FLAGS_x", "1"),
        ("PYTHONHASHSEED", "0"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            parent, threads = parent_and_threads()
        assert parent == os.getpid(), name
        assert (threads == "3") == (name == "OMP_NUM_THREADS")


def test_where_a_server_ends_before_it_is_ready_programs_are_spawned(tmp_path: Path) -> None:
    with ForkServers({**os.environ, "PYTHONHOME": str(tmp_path)}) as start, (tmp_path / "output").open("w+") as output:
        assert start.next(os.environ) is None
        assert start(["-c", "print('spawned')"], tmp_path, output).wait(60) == 0
        assert (tmp_path / "output").read_text() == "spawned\n"


# ---------------------------------------------------------------- ends


def pid_of(server: ForkServer) -> int:
    return server._process.pid


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer(os.environ)
    assert made.can_start(os.environ)
    yield made
    made.close()


def sleeper(server: ForkServer, folder: Path) -> Any:
    """A program that runs: a signal that comes sooner meets what Paddle does about it, and not the program."""
    output = folder / f"sleeper{len(list(folder.iterdir()))}"
    with output.open("w") as sink:
        code = "import time; print('here', flush=True); time.sleep(600)"
        child = server.start(["-c", code], folder, os.environ, *[sink.fileno()] * 2)
    end = time.monotonic() + 60
    while "here" not in output.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    return child


def gone(*pids: int) -> bool:
    """Whether they have all ended within some seconds."""
    end = time.monotonic() + 20
    while left := [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > end:
            return not left
        time.sleep(0.02)
    return True


def test_a_child_that_runs_can_be_waited_for_and_killed(server: ForkServer, tmp_path: Path) -> None:
    child, other = sleeper(server, tmp_path), sleeper(server, tmp_path)
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    child.kill()
    assert child.wait(20) == child.returncode == child.poll() == -signal.SIGKILL
    child.kill()  # Of one that has ended nothing is signalled.
    other.send_signal(signal.SIGTERM)
    assert other.wait(20) == -signal.SIGTERM


def test_nothing_is_forked_while_another_thread_works() -> None:
    """Paddle 2.6 has a thread that takes locks each second; a child forked within would hang at its end."""
    program = """
import os, threading, time
import numpy as np
from paddle_resume.testing.fork_server import _fork_while_others_sleep

def work():
    end = time.monotonic() + 1
    while time.monotonic() < end:
        np.sort(numbers)  # Without Python's lock, so that this thread is awake.
    finished.append(time.monotonic())
    time.sleep(600)

finished, numbers = [], np.random.rand(3_000_000)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
child = _fork_while_others_sleep()
if child == 0:
    os._exit(3)
print(bool(finished), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert ran.stdout == "True 3\n", ran.stderr


@pytest.mark.full
def test_the_children_end_with_their_server_however_it_ends(tmp_path: Path) -> None:
    for end in ("close", "kill"):
        server = ForkServer(os.environ)
        assert server.can_start(os.environ)
        child = sleeper(server, tmp_path)
        if end == "kill":
            os.kill(pid_of(server), signal.SIGKILL)
            with pytest.raises(ConnectionError, match="the process from which lives are forked has ended"):
                child.wait(20)
        server.close()
        assert gone(child.pid, pid_of(server)), end


@pytest.mark.full
def test_server_and_children_end_with_a_client_that_is_killed(tmp_path: Path) -> None:
    """Even while a forked child of the client holds its end of the connection."""
    code = """
import os, sys, time
from pathlib import Path
from paddle_resume.testing.forked import ForkServer
server = ForkServer(os.environ)
assert server.can_start(os.environ)
child = server.start(["-c", "import time; time.sleep(600)"], Path.cwd(), os.environ, 2, 2)
if os.fork() == 0:
    time.sleep(30)
    os._exit(0)
print(server._process.pid, child.pid, flush=True)
time.sleep(600)
"""
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert client.stdout is not None
    pids = [int(pid) for pid in client.stdout.readline().split()]
    holder = next(p for p in psutil.Process(client.pid).children() if p.pid not in pids)
    client.kill()
    client.wait()
    try:
        assert len(pids) == 2 and gone(*pids)
    finally:
        holder.kill()
        client.stdout.close()
