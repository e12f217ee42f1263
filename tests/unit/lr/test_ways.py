"""How a learning rate goes on where its schedule is another: by hand, with every schedule that has an end."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from paddle.optimizer import lr

from paddle_resume import Warmup
from paddle_resume.errors import StateError
from paddle_resume.lr.stepper import STEP, LRStepper
from paddle_resume.lr.ways import HOLD, REPLAN, RESTART, end_of
from paddle_resume.owners.scheduler import SchedulerState

# A schedule by how long it is.
SCHEDULES: dict[str, Callable[[int], Any]] = {
    "PolynomialDecay": lambda n: lr.PolynomialDecay(0.1, decay_steps=n, end_lr=0.01),
    "CosineAnnealingDecay": lambda n: lr.CosineAnnealingDecay(0.1, T_max=n, eta_min=0.001),
    "OneCycleLR": lambda n: lr.OneCycleLR(0.1, total_steps=n, end_learning_rate=0.001),
    "PiecewiseDecay": lambda n: lr.PiecewiseDecay([n // 2, n], [0.1, 0.05, 0.01]),
    "LinearLR": lambda n: lr.LinearLR(0.1, total_steps=n),
    "StepDecay": lambda n: lr.StepDecay(0.1, step_size=n, gamma=0.5),
    "Warmup": lambda n: Warmup(lr.CosineAnnealingDecay(0.1, T_max=n - 3, eta_min=0.001), steps=3),
    "LinearWarmup": lambda n: lr.LinearWarmup(lr.PolynomialDecay(0.1, n - 3), 3, 0.0, 0.1),
}
WAYS = (REPLAN, RESTART, HOLD)


class Life:
    """One process's rate: built anew, brought to a state, and moved on."""

    def __init__(self, schedule: Any, state: Any = None, way: str = REPLAN) -> None:
        self.optimizer: Any = SimpleNamespace(_learning_rate=schedule)
        self.owner = SchedulerState(self.optimizer)
        self.owner.on_change = way
        self.stepper = LRStepper({"": self.optimizer})
        self.differences = [] if state is None else self.owner.differences(state)
        if state is not None:
            self.owner.set_state_dict(state)

    def move(self, moves: int) -> list[float]:
        made = []
        for _ in range(moves):
            made.append(self.optimizer._learning_rate())
            self.stepper.after(STEP)
        return made

    def saved(self) -> Any:
        return json.loads(json.dumps(self.owner.state_dict()))


def changed(build: Callable[[int], Any], way: str, moved: int = 8) -> tuple[Any, Any]:
    """A state after so many moves of a schedule of 8, and the life that goes on from it with one of 14."""
    old = Life(build(8))
    old.move(moved)
    state = old.saved()
    return state, Life(build(14), state, way)


@pytest.mark.parametrize("moved", [5, 8])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SCHEDULES)
def test_each_way_goes_on_with_the_same_bits_wherever_it_is_interrupted(kind: str, way: str, moved: int) -> None:
    build = SCHEDULES[kind]
    _, straight = changed(build, way, moved)
    assert straight.differences
    expected = straight.move(14 - moved)
    for stop in range(14 - moved):
        _, first = changed(build, way, moved)
        made = first.move(stop)
        again = Life(build(14), first.saved())
        assert again.differences == [], "the same schedule is given as at the change"
        assert made + again.move(14 - moved - stop) == expected
        assert again.saved() == straight.saved()


def test_without_what_is_recorded_of_a_held_rate_it_would_be_refused_and_go_another_way() -> None:
    """The negative control."""
    _, first = changed(SCHEDULES["CosineAnnealingDecay"], HOLD)
    first.move(2)
    state = first.saved()
    del state["plan"]
    again = Life(SCHEDULES["CosineAnnealingDecay"](14), state)
    assert again.differences
    assert again.move(3) != first.move(3)


def test_restart_begins_replan_is_where_it_would_be_and_hold_stays_at_the_old_end() -> None:
    for build in SCHEDULES.values():
        whole = Life(build(14)).move(14)
        old = Life(build(8))
        old.move(8)
        end = old.optimizer._learning_rate()
        assert changed(build, REPLAN)[1].move(6) == whole[8:]
        assert changed(build, RESTART)[1].move(6) == whole[:6]
        assert changed(build, HOLD)[1].move(6) == [end] * 6


def test_a_run_that_was_held_or_restarted_is_replanned_from_all_the_moves_it_has_made() -> None:
    build = SCHEDULES["PolynomialDecay"]
    whole = Life(build(20)).move(20)
    for way in (RESTART, HOLD):
        _, life = changed(build, way)
        life.move(4)
        longer = Life(build(20), life.saved(), REPLAN)
        assert longer.differences
        assert longer.move(5) == whole[12:17]


def test_the_figures_that_are_offered_are_those_that_come() -> None:
    for build in SCHEDULES.values():
        state, _ = changed(build, REPLAN)
        offered = SchedulerState(SimpleNamespace(_learning_rate=build(14))).rates(state)
        assert set(offered) == set(WAYS)
        for way, (begins, _) in offered.items():
            assert changed(build, way)[1].move(1) == [begins]


def test_what_has_no_end_or_is_of_another_class_cannot_be_held() -> None:
    old = Life(lr.ExponentialDecay(0.1, 0.9))
    with pytest.raises(StateError, match="ExponentialDecay was the schedule, which has no end"):
        Life(lr.ExponentialDecay(0.1, 0.8), old.saved(), HOLD)
    with pytest.raises(StateError, match="and now it is a PolynomialDecay"):
        Life(lr.PolynomialDecay(0.1, 5), Life(lr.CosineAnnealingDecay(0.1, 5)).saved(), HOLD)


def test_every_schedule_here_says_where_it_ends() -> None:
    for build in SCHEDULES.values():
        captured = Life(build(8)).saved()
        assert end_of(captured["class"], captured["given"]) == 8
