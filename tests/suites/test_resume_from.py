"""Checkpoints that a wrapped run cannot go on from: the suite's own, and those of other kinds of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from wrapping import wrap

from paddle_resume import SaveSchedule, Trainer  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.errors import CheckpointError
from paddle_resume.suites.resume_from import resume_from


def save(prefix: Path, record: bytes | None = b"\x80\x04N.", suffixes: tuple[str, ...] = (".pdparams",)) -> str:
    """What a suite saves: weights, perhaps an optimizer's state, and a pickle of its own as .pdstates."""
    prefix.parent.mkdir(exist_ok=True)
    for suffix in suffixes:
        paddle.save({"weight": paddle.ones([2])}, f"{prefix}{suffix}")
    if record is not None:
        Path(f"{prefix}.pdstates").write_bytes(record)
    return str(prefix)


@pytest.mark.parametrize("record", [b"\x80\x04N.", None])
@pytest.mark.parametrize("suffixes", [(".pdparams",), (".pdparams", ".pdopt")])
@pytest.mark.parametrize("named", ["suite/epoch_1", "suite/epoch_1.pdparams", "suite"])
def test_the_suite_s_own_checkpoint_is_refused_with_what_to_do(
    named: str, suffixes: tuple[str, ...], record: bytes | None, tmp_path: Path
) -> None:
    save(tmp_path / "suite" / "epoch_1", record, suffixes)
    with pytest.raises(CheckpointError, match="was saved by the suite itself.*Leave --resume out"):
        resume_from(str(tmp_path / named), tmp_path / "checkpoint", "train")


def test_a_damaged_record_of_ours_is_not_taken_for_the_suite_s(tmp_path: Path) -> None:
    prefix = save(tmp_path / "suite" / "train_step3", b"{ torn")
    for named in (prefix, str(tmp_path / "suite")):
        with pytest.raises(CheckpointError, match="whole") as error:
            resume_from(named, tmp_path / "checkpoint", "train")
        assert "suite itself" not in str(error.value)


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        resume_from(str(tmp_path / "nothing"), tmp_path / "checkpoint", "train")


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    prefix = save(tmp_path / "suite" / "epoch_1")
    done = wrap(tmp_path, "nested", options=("--resume", prefix))
    assert done.returncode == 2 and "was saved by the suite itself" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "wrapped").exists()


@pytest.mark.parametrize("resume", ["auto", "checkpoint/nested_step1"])
def test_a_trainer_s_run_of_the_same_name_is_not_gone_on_with(resume: str, tmp_path: Path) -> None:
    """Neither in the middle, nor one that is complete, which would look as if nothing were left to do."""
    train(tmp_path / "checkpoint")
    done = wrap(tmp_path, "nested", options=("--resume", resume))
    assert done.returncode == 2 and "was saved by a run of another kind" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "wrapped").exists()


class Points(paddle.io.Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(2, "float32"), np.ones(1, "float32")


def train(folder: Path) -> None:
    net = paddle.nn.Linear(2, 1)
    trainer = Trainer(
        net,
        paddle.optimizer.SGD(0.01, parameters=net.parameters()),
        loss=paddle.nn.MSELoss(),
        save_dir=folder,
        name="nested",
        model_path=folder / "nested.pdparams",
        schedule=SaveSchedule(every_steps=1, keep=3),
    )
    trainer.train(Points(), global_batch_size=4)
