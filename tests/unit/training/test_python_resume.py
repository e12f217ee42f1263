"""Going on from Python: from the best, with changes that are named, and with loaders as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_run import Points, train, trainer, weights

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Best
from paddle_resume.errors import CheckpointError, ConfigError, InexactResumeError


def test_without_a_best_one_it_is_told_what_keeps_it_and_what_is_there(tmp_path: Path) -> None:
    train(trainer(tmp_path), epochs=1)
    train(trainer(tmp_path, name="other", logger=None), epochs=1)
    with pytest.raises(CheckpointError, match=r"is kept where Best\(monitor=\) is set") as found:
        train(trainer(tmp_path), epochs=2, resume="best")
    assert "model_epoch0" in str(found.value) and "other" not in str(found.value)


def test_resume_best_goes_back_to_the_best(tmp_path: Path) -> None:
    first = train(trainer(tmp_path, best=Best("valid/loss", mode="max")), epochs=3)
    again = train(trainer(tmp_path, best=Best("valid/loss", mode="max")), epochs=3, resume="best")
    assert again.restored.prefix == tmp_path / "checkpoint" / "model_best" and again.restored.step < 15
    assert again.step == 15 and weights(again) == weights(first)


def test_a_change_that_is_named_goes_through_and_no_other(tmp_path: Path) -> None:
    train(trainer(tmp_path), epochs=1)
    with pytest.raises(
        InexactResumeError, match=r"global_batch_size: 8 -> 4 \(set by Trainer.train\(global_batch_size=\)"
    ):
        train(trainer(tmp_path), epochs=2, global_batch_size=4)
    with pytest.raises(InexactResumeError, match=r"allow_change=\['global_batch_size'"):
        train(trainer(tmp_path, rate=0.05), epochs=2, global_batch_size=4, allow_change="optimizer")
    made = train(
        trainer(tmp_path, rate=0.05), epochs=2, global_batch_size=4, allow_change=["optimizer", "global_batch_size"]
    )
    assert made.learning_rate == 0.05 and len(made.restored.changes) >= 2 and made.restored.differences == []
    assert made.step == 5 + 10 and made.lineage.is_exact
    # It is part of the run now, and needs no leave again.
    assert train(trainer(tmp_path, rate=0.05), epochs=3, global_batch_size=4).step == 25


def test_data_that_are_others_have_to_be_named(tmp_path: Path) -> None:
    train(trainer(tmp_path), epochs=1)
    made = trainer(tmp_path)
    with pytest.raises(InexactResumeError, match=r"Trainer.train\(train_data=\)"):
        made.train(Points(48), Points(24), Points(16), epochs=2, global_batch_size=8)
    made = trainer(tmp_path)
    options: dict[str, Any] = {"epochs": 2, "global_batch_size": 8, "allow_change": ["train_data"]}
    made.train(Points(48), Points(24), Points(16), **options)
    assert made.step == 5 + 6


def test_a_loader_says_what_is_not_said_beside_it(tmp_path: Path) -> None:
    loader = paddle.io.DataLoader(Points(), batch_size=16, shuffle=True, drop_last=True)
    made = trainer(tmp_path)
    made.train(loader, epochs=1, global_batch_size=16, shuffle=True)
    assert made.step == 2
    for name, value in {"drop_last": False, "num_workers": 2, "global_batch_size": 32}.items():
        with pytest.raises(ConfigError, match=rf"Trainer.train\({name}={value}\) and DataLoader\("):
            trainer(tmp_path / name).train(loader, **{name: value})


def test_a_limit_of_batches_is_part_of_the_run(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.train(Points(), Points(24), epochs=2, global_batch_size=8, limit_batches=2)
    assert made.step == 4 and made.length.steps_per_epoch == 2
    with pytest.raises(
        InexactResumeError, match=r"data limit_batches: 2 -> 3 \(set by Trainer.train\(limit_batches=\)"
    ):
        trainer(tmp_path).train(Points(), Points(24), epochs=3, global_batch_size=8, limit_batches=3)

    class Stream(paddle.io.IterableDataset):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(
        ConfigError, match=r"Trainer.train\(limit_batches=2\) is for data whose length is known, and Stream"
    ):
        trainer(tmp_path / "stream").train(Stream(), limit_batches=2)
