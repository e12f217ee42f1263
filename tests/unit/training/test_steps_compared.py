"""What is compared and what is not, where losses are read, and what fingerprints cost when something is in the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle
import pytest
from small_run import Points, train, trainer

from paddle_resume import Callback
from paddle_resume.errors import ConfigError, DataError, InexactStepError
from paddle_resume.storage.fingerprint_file import FingerprintFile
from paddle_resume.testing import first_differences
from paddle_resume.training import kept_fingerprints
from paddle_resume.training.resume_changes import GivenChanges


class Crash(Exception):
    pass


class Fate(Callback):
    """Ends a life after `step` steps, and draws once more than before in step `draws`."""

    only_watches = True

    def __init__(self, step: Optional[int] = None, draws: Optional[int] = None) -> None:
        self.step, self.draws = step, draws

    def on_step_begin(self, trainer: Any) -> None:
        if trainer.step == self.draws:
            np.random.rand()

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step == self.step:
            raise Crash


def life(folder: Path, crash: Optional[int] = None, draws: Optional[int] = None, **options: Any) -> Any:
    """Three epochs of five steps with a save every four, until a crash."""
    given = {key: options.pop(key) for key in ("allow_inexact", "resume", "changes", "overwrite") if key in options}
    gpu = options.pop("gpu", False)
    made = trainer(folder, **{"every_steps": 4, "every_epochs": None, "callbacks": [Fate(crash, draws)], **options})
    if gpu:  # Where reading a loss waits, losses are read only when they are logged or saved.
        made._parts.divergence.checks_each_loss = False
    try:
        train(made, **given)
    except Crash:
        assert crash is not None
    return made


def known(folder: Path) -> list[int]:
    return [one.step for one in FingerprintFile(folder / "checkpoint" / ".model.steps").read()[0]]


def test_before_a_first_save_nothing_is_kept_for_nothing_could_be_made_again(tmp_path: Path) -> None:
    life(tmp_path, 3)
    assert known(tmp_path) == []
    assert life(tmp_path).told == []


def test_the_file_holds_no_more_than_what_may_be_made_again(tmp_path: Path) -> None:
    life(tmp_path, 7)
    assert known(tmp_path) == [4, 5, 6]
    assert life(tmp_path, 15).told == ["Made again: 4-6, the same bits."]
    assert known(tmp_path) == list(range(8, 15))  # The save of step 12 is known to be durable when the next begins.


class AllWanted(GivenChanges):
    """A change that a user asked for: whatever differs."""

    def wanted(self, differences: Sequence[Any]) -> Sequence[Any]:
        return differences


@pytest.mark.parametrize("leave", [{"allow_inexact": True}, {"changes": AllWanted()}])
def test_a_run_that_was_changed_with_leave_is_not_compared(leave: dict[str, Any], tmp_path: Path) -> None:
    life(tmp_path, 7)
    changed = life(tmp_path, 7, rate=0.2, **leave)
    assert changed.restored.step == 4
    assert [line.partition(":")[0] for line in changed.told] == ["Learning rate"]
    # Its own steps are: step 6 was the last of both lives, and the new course is the one that counts.
    again = life(tmp_path, rate=0.2, **leave)
    assert again.told[-1] == "Made again: 4-6, the same bits."


def test_a_run_that_starts_over_is_not_compared(tmp_path: Path) -> None:
    life(tmp_path, 7)
    assert life(tmp_path, rate=0.2, resume="none", overwrite=True).told[1:] == []


def test_an_older_checkpoint_by_name_is_compared_as_far_as_it_is_known(tmp_path: Path) -> None:
    life(tmp_path, 11)
    made = life(tmp_path, resume=str(tmp_path / "checkpoint" / "model_step4"))
    assert made.restored.step == 4 and made.told == ["Made again: 4-10, the same bits."]


def test_losses_are_read_where_the_run_reads_them_and_kept_from_there_on(tmp_path: Path) -> None:
    life(tmp_path / "seldom", 7, gpu=True, log_every=100)
    assert known(tmp_path / "seldom") == [4]  # The end of the epoch is logged, and its last step is 4.
    life(tmp_path / "often", 7, gpu=True, log_every=1)
    assert known(tmp_path / "often") == [4, 5]  # The log of step 6 would have come after the crash.


def test_where_losses_are_read_late_nothing_that_differs_is_saved_before(tmp_path: Path) -> None:
    life(tmp_path, 7)
    made = trainer(tmp_path, every_steps=4, every_epochs=None, log_every=100, callbacks=[Fate(draws=6)])
    made._parts.divergence.checks_each_loss = False
    with pytest.raises(InexactStepError, match=r"Step 6 .* 4-5 came out the same before it"):
        train(made)
    assert [found.record.step for found in made.checkpoints] == [4]


def test_a_difference_behind_the_last_known_step_is_nobodys_to_know(tmp_path: Path) -> None:
    life(tmp_path, 7)
    assert life(tmp_path, draws=9).told == ["Made again: 4-6, the same bits."]


def test_a_run_that_never_saves_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_fingerprints, "_MOST", 5)
    life(tmp_path, 11)
    assert known(tmp_path) == [4, 5, 6, 7, 8]
    assert life(tmp_path).told == ["Made again: 8, the same bits."]


def test_a_disk_that_takes_no_fingerprints_is_told_of_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: FingerprintFile, fingerprints: Any) -> None:
        raise OSError(28, "No space left on device")

    life(tmp_path / "straight")
    monkeypatch.setattr(FingerprintFile, "append", full)
    made = life(tmp_path / "full")
    assert len(made.told) == 1 and "No space left on device. Training goes on" in made.told[0]
    assert first_differences(tmp_path / "straight", tmp_path / "full") == []


def test_checkpoints_that_would_not_be_there_to_go_back_to_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Monitoring\(check_resume=9\) .* Set SaveSchedule\(keep=\) to 5 or more"):
        trainer(tmp_path, every_steps=4, every_epochs=None, keep=4, check_resume=9)
    trainer(tmp_path, every_steps=4, every_epochs=None, keep=5, check_resume=9)
    trainer(tmp_path, every_steps=4, every_epochs=1, keep=1, check_resume=9)


def test_going_back_on_purpose_does_not_pass_a_change(tmp_path: Path) -> None:
    options: dict[str, Any] = {"keep": 9, "check_resume": 4}
    life(tmp_path, 6, **options)
    life(tmp_path, 9, rate=0.2, changes=AllWanted(), **options)
    made = life(tmp_path, rate=0.2, changes=AllWanted(), **options)
    # Step 8 is the newest. Step 4 was saved twice, and holds the change since.
    assert made.restored.step == 4 and "Made again: 4-8, the same bits." in made.told


class Noisy(Points):
    """Draws from the system."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + np.frombuffer(os.urandom(8), np.uint8).astype(np.float32), y


class Own(Points):
    """Draws from a generator of its own, which is found and saved, but not where workers hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.own = np.random.default_rng(0)

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + self.own.random(8, np.float32), y


def test_data_that_cannot_be_made_again_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    with pytest.raises(
        DataError, match=r"train data: dataset\[0\] gave two .*: field 0 differs; Noisy .*allow_inexact=True"
    ):
        made.train(Noisy(), epochs=1, global_batch_size=8)
    assert not (tmp_path / "checkpoint").exists()
    with pytest.raises(DataError, match="valid data: dataset"):
        made.train(Points(), Noisy(), epochs=1, global_batch_size=8)


def test_data_with_a_generator_of_their_own_are_refused_only_with_workers(tmp_path: Path) -> None:
    trainer(tmp_path / "here").train(Own(), epochs=1, global_batch_size=8)
    with pytest.raises(DataError, match=r"dataset\[0\] gave two .*; Own draws"):
        trainer(tmp_path / "workers").train(Own(), epochs=1, global_batch_size=8, num_workers=2)


def test_they_may_be_allowed_and_the_run_is_inexact_from_its_first_step(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.train(Noisy(), epochs=1, global_batch_size=8, allow_inexact=True)
    assert any("The run is inexact." in text for text in made.told)
    assert made.lineage.inexact_since == 0 and not made.checkpoints[0].record.exact


def test_two_looks_change_nothing_of_a_run(tmp_path: Path) -> None:
    class Drawing(Points):
        def __getitem__(self, index: int) -> Any:
            x, y = super().__getitem__(index)
            return x + np.random.rand(8).astype("float32") + paddle.rand([1]).numpy(), y

    trainer(tmp_path / "looked").train(Drawing(), epochs=1, global_batch_size=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paddle_resume.data.feed.probe", lambda *arguments: "")
        trainer(tmp_path / "not").train(Drawing(), epochs=1, global_batch_size=8)
    assert first_differences(tmp_path / "looked", tmp_path / "not") == []
