"""Scalars by name are added in one order, whatever the number of processes and whenever they are brought together."""

from __future__ import annotations

from typing import Any

import pytest

from paddle_resume.errors import ConfigError
from paddle_resume.metrics.running_scalars import RunningScalars
from paddle_resume.parallel.world import World

# Of these each order of adding gives another sum.
VALUES = [[0.1, 1e16, 0.7, -1e16], [3.3, -0.2, 1e16, 0.9], [-1e16, 0.4, 2.2, 0.3]]


class Together(World):
    """One of several processes in this one: what the others gather is given beforehand."""

    def __init__(self, rank: int, size: int, others: list[Any]) -> None:
        super().__init__(rank, size)
        self.others = others

    def gather(self, value: Any) -> list[Any]:
        self.others[self.rank] = value
        return self.others


def logged(size: int, gather_after: int, by_share: bool, places: int = 4) -> dict[str, float]:
    """The means in the last process after three steps, of which each process logs its part."""
    gathered: list[Any] = [[] for _ in range(size)]
    each = places // size
    scalars = [
        RunningScalars(Together(rank, size, gathered) if size > 1 else World(), by_share) for rank in range(size)
    ]
    for step, values in enumerate(VALUES):
        for rank, mine in enumerate(scalars):
            mine.next_turn()
            mine.add({"before": step / 3})
            for index in range(rank * each, (rank + 1) * each):
                with mine.of_share(index):
                    mine.add({"value": values[index]})
        if step == gather_after:
            # The last one to gather has what all have.
            for mine in scalars:
                mine.gather()
            for mine in scalars[:-1]:
                mine.set_state_dict(scalars[-1].state_dict())
    for mine in scalars:
        mine.gather()
    return scalars[-1].results()


def test_what_shares_log_has_the_same_sum_on_any_number_of_processes() -> None:
    one = logged(1, -1, by_share=True)
    for size in (1, 2, 4):
        for gather_after in (-1, 0, 1):
            assert logged(size, gather_after, by_share=True) == one
    flat = [value for values in VALUES for value in values]
    assert one["value"] == sum(flat) / 12 and sum(flat) != sum(sorted(flat))
    assert one["before"] == pytest.approx(1 / 3), "outside of shares it counts once"


def test_an_additional_gathering_alters_no_bit_of_what_ranks_log() -> None:
    assert logged(2, 0, by_share=False) == logged(2, 1, by_share=False) == logged(2, -1, by_share=False)


def test_a_process_whose_value_does_not_count_still_hears_what_is_wrong_with_it() -> None:
    scalars = RunningScalars(World(1, 2), by_share=True)
    with pytest.raises(ConfigError, match="is logged by the trainer itself"):
        scalars.add({"loss": 1.0})
    scalars.add({"other": 1.0})
    assert scalars.results() == {}
