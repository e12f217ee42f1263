"""How a life ends: as planned, or as an error that says which process did what."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import forking
import pytest

from paddle_resume.testing import Kill, life
from paddle_resume.testing.kill_plan import Plan
from paddle_resume.testing.life import Ending, LifeError

live = partial(life.live, start=forking.servers(), timeout=120)
# A loop of six steps; what a signal does to it stands before.
LOOP = """
import os, signal, sys, time
from paddle_resume import RandomStreams
rank = os.environ.get("PADDLE_TRAINER_ID")
{before}
streams = RandomStreams()
for step in range(6):
    streams.begin_step(step)
    {each}
"""
ANSWERS = "signal.signal(signal.SIGTERM, lambda *_: ({says}, sys.exit(143)))"


def program(folder: Path, before: str = "", each: str = "pass") -> list[str]:
    path = folder / "loop.py"
    path.write_text(LOOP.format(before=before, each=each))
    return [str(path)]


def test_a_life_without_a_kill_ends_with_all_its_processes(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path / "report"))
    assert live(program(tmp_path), tmp_path / "run", plan, processes=2) == Ending(True, (0, 0))
    assert live(program(tmp_path), tmp_path / "run", plan) == Ending(True, (0,))


def test_a_kill_takes_the_process_that_it_names_or_all_of_them(tmp_path: Path) -> None:
    waits = program(tmp_path, each="time.sleep(0.05 if rank == '1' else 0)")
    one = live(waits, tmp_path / "run", Plan(str(tmp_path / "report"), Kill("begin", 2, rank=1)), processes=2)
    assert one == Ending(False, (0, -9))
    slow = program(tmp_path, each="time.sleep(600 if rank == '1' else 0)")
    both = live(slow, tmp_path / "run", Plan(str(tmp_path / "report"), Kill("begin", 2)), processes=2)
    assert both == Ending(False, (-9, -9))


def test_a_stop_ends_a_life_by_the_signals_own_code_and_tells_the_step(tmp_path: Path) -> None:
    said = program(tmp_path, ANSWERS.format(says="print('Stopped after step 3.')"))
    plan = Plan(str(tmp_path / "report"), Kill("begin", 2, signal="SIGTERM"))
    assert live(said, tmp_path / "run", plan) == Ending(False, (143,), 3)
    assert plan.came.read_text() == "2"
    plan = Plan(str(tmp_path / "report"), Kill("begin", 2, signal="SIGINT"))
    assert live(program(tmp_path), tmp_path / "run", plan) == Ending(False, (-2,))


def test_a_stop_that_ends_otherwise_is_an_error(tmp_path: Path) -> None:
    wrong = program(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))")
    plan = Plan(str(tmp_path / "report"), Kill("begin", 2, signal="SIGTERM"))
    with pytest.raises(LifeError, match="the program ended with exit code 1"):
        live(wrong, tmp_path / "run", plan)


def test_the_process_that_failed_first_is_named_and_heard(tmp_path: Path) -> None:
    fails = program(tmp_path, "print('rank', rank); sys.exit(3 if rank == '0' else 7)")
    with pytest.raises(LifeError) as error:
        live(fails, tmp_path / "run", Plan(str(tmp_path / "report")), processes=2)
    assert error.value.what == "rank 1 ended with exit code 7" and error.value.output == "rank 1\n"


def test_a_process_that_outlives_a_killed_one_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_SECONDS_TO_END", 0.5)
    hangs = program(tmp_path, "time.sleep(600 if rank == '1' else 0)")
    plan, began = Plan(str(tmp_path / "report"), Kill("begin", 2, rank=0)), time.monotonic()
    with pytest.raises(LifeError, match=r"rank 1 still runs, 0\.5 s after rank 0 has ended"):
        live(hangs, tmp_path / "run", plan, processes=2)
    assert time.monotonic() - began < 30


def test_a_life_that_takes_too_long_is_an_error_that_tells_where_it_hangs(tmp_path: Path) -> None:
    hangs = program(tmp_path, "print('so far', flush=True); time.sleep(600)")
    with pytest.raises(LifeError, match="the program still runs after 5 s") as error:
        live(hangs, tmp_path / "run", Plan(str(tmp_path / "report")), timeout=5)
    assert "so far" in error.value.output and "most recent call first" in error.value.output
