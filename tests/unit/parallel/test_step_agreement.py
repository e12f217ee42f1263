"""What the processes agree on at each step: over their channel, or with what the step exchanges."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Optional

import pytest

from paddle_resume.parallel.step_agreement import TOLD, StepAgreement
from paddle_resume.parallel.world import Agreement, World


class Many(World):
    """One process of three, whose collectives wait or do not, and which counts what it sends beside them."""

    def __init__(self, rank: int, waits: bool) -> None:
        super().__init__(rank, 3)
        self.waits, self.sent = waits, 0

    @property
    def collectives_wait(self) -> bool:
        return self.waits

    def agree(self, save: bool = False, signum: Optional[int] = None, memory: bool = False) -> Agreement:
        self.sent += 1
        return Agreement(save, signum, memory)


def told_by(agreement: StepAgreement) -> Sequence[float]:
    told = agreement.told()
    assert told is not None and len(told) == TOLD
    return told


def step(given: list[tuple[Any, ...]]) -> list[Agreement]:
    """What three processes that were `given` this agree on, where it rides with an exchange."""
    worlds = [Many(rank, True) for rank in range(3)]
    agreements = [StepAgreement(world, rides=True) for world in worlds]
    for agreement, one in zip(agreements, given):
        agreement.begin(*one)
    total = [sum(numbers) for numbers in zip(*(told_by(agreement) for agreement in agreements))]
    for agreement in agreements:
        agreement.hear(total)
    assert [world.sent for world in worlds] == [0, 0, 0]
    return [agreement.end() for agreement in agreements]


@pytest.mark.parametrize(
    ("given", "agreed"),
    [
        ([(False, None)] * 3, (False, None)),
        ([(True, None), (False, None), (False, None)], (True, None)),
        ([(False, None), (True, None), (True, None)], (False, None)),  # Rank 0 alone decides on a save.
        ([(False, None), (False, signal.SIGINT), (False, None)], (False, signal.SIGINT)),
        ([(False, None, True), (False, None), (False, None)], (False, None, True)),
        ([(True, None), (False, None, True), (False, None)], (True, None)),
        ([(True, signal.SIGINT), (False, None), (False, signal.SIGTERM)], (True, signal.SIGTERM)),
        ([(False, signal.SIGTERM)] * 3, (False, signal.SIGTERM)),
    ],
)
def test_all_learn_the_same_from_what_is_exchanged_and_nothing_else_is_sent(
    given: list[tuple[bool, Optional[int]]], agreed: tuple[bool, Optional[int]]
) -> None:
    assert step(given) == [Agreement(*agreed)] * 3


def test_what_one_step_told_is_forgotten_by_the_next() -> None:
    agreement = StepAgreement(Many(0, True), rides=True)
    agreement.begin(True, signal.SIGTERM)
    agreement.hear(told_by(agreement))
    assert agreement.end() == Agreement(True, signal.SIGTERM)
    agreement.begin(False, None)
    with pytest.raises(AssertionError):
        agreement.end()
    agreement.hear(told_by(agreement))
    assert agreement.end() == Agreement(False, None)


@pytest.mark.parametrize(("rides", "waits"), [(True, False), (False, True)])
def test_where_a_collective_does_not_wait_or_carry_it_the_channel_tells(rides: bool, waits: bool) -> None:
    world = Many(0, waits)
    agreement = StepAgreement(world, rides)
    agreement.begin(True, signal.SIGINT)
    assert agreement.told() is None
    agreement.hear([0.0, 3.0, 0.0])  # What comes along does not count.
    assert agreement.end() == Agreement(True, signal.SIGINT) and world.sent == 1


def test_one_process_agrees_with_itself() -> None:
    agreement = StepAgreement(World(), rides=True)
    agreement.begin(True, None)
    assert agreement.end() == Agreement(True, None)
