"""Kills at random: the same for a seed, of every kind, and each where it can land."""

from __future__ import annotations

import random

import pytest

from paddle_resume.testing.kill_plan import KILL, STOPS, Kill
from paddle_resume.testing.random_kills import RunShape, plan_kills

LONG = RunShape(100, last_inner_end=80)
TWO = RunShape(100, last_inner_end=80, processes=2)
SEEDS = range(200)


def plans(count: int, run: RunShape, stops: bool = False) -> list[list[Kill]]:
    return [plan_kills(count, run, random.Random(seed), stops=stops) for seed in SEEDS]


def test_a_plan_follows_from_its_seed_and_another_seed_gives_another() -> None:
    assert plans(6, TWO, True) == plans(6, TWO, True)
    assert len({tuple(plan) for plan in plans(6, TWO, True)}) > 150


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_there_are_as_many_as_are_wanted_at_ever_later_steps(count: int) -> None:
    for run in (LONG, TWO):
        for plan in plans(count, run, True):
            assert len(plan) == count
            steps = [kill.after for kill in plan if kill.moment != "start"]
            assert steps == sorted(steps) and all(step < 80 for step in steps)


def test_without_stops_all_are_kills_and_with_them_each_signal_comes() -> None:
    assert {kill.signal for plan in plans(5, LONG) for kill in plan} == {KILL}
    for plan in plans(3, LONG, stops=True):
        assert {kill.signal for kill in plan} == {KILL, *STOPS}


def test_a_stop_comes_only_where_a_step_follows_that_answers_it() -> None:
    for run in (LONG, RunShape(10, last_inner_end=5), RunShape(10)):
        for kill in (kill for plan in plans(6, run, True) for kill in plan if kill.is_stop):
            assert kill.moment != "orphan"
            if kill.moment in ("epoch", "evaluate"):
                assert kill.after + 2 < run.last_inner_end


def test_of_several_processes_each_kill_takes_one_or_all_and_rank_0_alone_within_a_save() -> None:
    kills = [kill for plan in plans(9, TWO, True) for kill in plan]
    assert {kill.rank for kill in kills} == {None, 0, 1}
    assert {kill.rank for kill in kills if kill.moment in ("save", "orphan")} == {None, 0}
    assert {kill.rank for kill in kills if kill.moment == "gather"} == {None, 0, 1}
    assert all(kill.rank is None for plan in plans(9, LONG) for kill in plan)


def test_moments_that_a_run_does_not_have_are_left_out() -> None:
    run = RunShape(10, epochs_end=False, evaluates=False, background=False)
    moments = {kill.moment for plan in plans(9, run) for kill in plan}
    assert moments == {"step", "start", "time"}


def test_a_kill_says_where_it_strikes_and_whom() -> None:
    assert Kill("step", 5).until == "killed in the middle of step 5"
    assert Kill("step", 5, rank=1).until == "rank 1 is killed in the middle of step 5"
    assert Kill("save", 5, 3, "SIGTERM").until == "SIGTERM in the first save after step 5"
    assert Kill("start", signal="SIGINT", rank=0).until == "SIGINT to rank 0 at start-up, after the restore"
