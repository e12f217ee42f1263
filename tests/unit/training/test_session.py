"""A run that is finished, and what the same or a longer command makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_run import train, trainer, weights

from paddle_resume import Best
from paddle_resume.loggers import read_records


class Wanted:
    """Every difference was asked for."""

    def wanted(self, differences: Any) -> Any:
        return differences

    def carry_out(self, run: Any, restored: Any) -> None: ...


def impatient(folder: Path, patience: int = 2, **options: Any) -> Any:
    """A falling loss of which the highest is wanted: the first evaluation is the best."""
    return trainer(folder, evaluate_every=2, best=Best("valid/loss", mode="max", patience=patience), **options)


@pytest.mark.parametrize("longer", [False, True])
def test_a_run_that_stopped_early_stays_complete_and_says_so(longer: bool, tmp_path: Path) -> None:
    first = train(impatient(tmp_path))
    records = read_records(tmp_path / "metrics.jsonl")
    again = train(impatient(tmp_path), epochs=9 if longer else 3)
    assert (first.step, again.step, again.phase) == (6, 6, "done")
    assert read_records(tmp_path / "metrics.jsonl") == records
    assert "This run stopped early at step 6, because valid/loss has not been better than" in again.told[-1]


def test_a_run_that_stopped_early_goes_on_with_more_patience_as_if_it_had_it_from_the_start(tmp_path: Path) -> None:
    straight = train(impatient(tmp_path / "straight", patience=4))
    train(impatient(tmp_path / "changed"))
    changed = train(impatient(tmp_path / "changed", patience=4), changes=Wanted())
    assert (changed.step, straight.step) == (10, 10)
    assert weights(changed) == weights(straight)


def test_another_metric_or_margin_has_not_waited_yet() -> None:
    before = Best("valid/loss", patience=1)
    for value in (1.0, 2.0):
        before.consider({"valid/loss": value}, 4)
    for other, kept in ((Best("valid/acc", patience=1), None), (Best("valid/loss", patience=1, min_delta=0.1), 1.0)):
        other.set_state_dict(before.state_dict())
        assert (other.value, other.waited, other.gave_up) == (kept, 0, False)


def test_a_metric_that_is_never_a_number_stops_in_plain_words() -> None:
    never = Best("valid/loss", patience=1)
    never.consider({"valid/loss": float("nan")}, 2)
    assert never.gave_up and never.why_gave_up == "valid/loss was not a number in any of 1 evaluations"
