"""When checkpoints are due, and what an automatic schedule makes of what it measures."""

import pytest

from paddle_resume.training import save_schedule
from paddle_resume.training.save_schedule import SaveClock, SaveSchedule


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves on."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(save_schedule, "time", clock)
    return clock


def test_every_steps_counts_steps_of_the_whole_run():
    saves = SaveClock(SaveSchedule(every_steps=3))
    assert [step for step in range(1, 10) if saves.is_due(step)] == [3, 6, 9]


def test_every_minutes_counts_from_the_last_save(clock):
    saves = SaveClock(SaveSchedule(every_minutes=1))
    assert not saves.is_due(1)
    clock.now += 61
    assert saves.is_due(2)
    saves.began(2, 0.0)
    assert not saves.is_due(3)


def run_auto(clock, stall, persist, step_time=0.1, budget=0.03):
    saves = SaveClock(SaveSchedule(every_steps="auto", budget=budget))
    step = 0
    while not saves.is_due(step):
        clock.now += step_time
        step += 1
    assert step == 10  # the probe
    clock.now += stall
    saves.began(step, stall)
    clock.now += persist
    said = saves.landed(step + int(persist / step_time))
    first = step
    while not saves.is_due(step):
        step += 1
    return step - first, said


def test_auto_keeps_the_stall_within_the_budget(clock):
    steps, said = run_auto(clock, stall=0.03, persist=0.2)
    assert 9 <= steps <= 10  # 30 ms are 3 % of 1 s, which is ten steps of 100 ms
    assert f"Saving every {steps} steps" in said
    assert "stops training for 30.0 ms" in said


def test_auto_lets_a_save_become_durable_before_the_next_begins(clock):
    steps, _ = run_auto(clock, stall=0.001, persist=5.0)
    assert steps >= 49


def test_auto_saves_less_often_with_a_smaller_budget(clock):
    often, _ = run_auto(clock, stall=0.1, persist=0.1, budget=0.1)
    seldom, _ = run_auto(clock, stall=0.1, persist=0.1, budget=0.01)
    assert seldom > 5 * often


def test_epochs_are_due_at_their_end():
    assert [e for e in range(6) if SaveSchedule(every_epochs=2).epoch_is_due(e)] == [1, 3, 5]
    assert not any(SaveSchedule(every_epochs=None).epoch_is_due(e) for e in range(6))
