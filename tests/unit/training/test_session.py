"""A run that is finished, and what the same or a longer command makes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from small_run import train, trainer, weights

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Best, Callback
from paddle_resume.checkpoint.reader import load
from paddle_resume.errors import CheckpointError, ConfigError
from paddle_resume.loggers import JsonlLogger, VisualDLLogger, read_records
from paddle_resume.testing import first_differences
from paddle_resume.training.ending import Ending
from paddle_resume.training.resume_changes import GivenChanges
from paddle_resume.training.run_saver import RunSaver


class Wanted(GivenChanges):
    """Every difference was asked for."""

    def wanted(self, differences: Any) -> Any:
        return differences


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
    logs = [read_records(tmp_path / each / "metrics.jsonl") for each in ("straight", "changed")]
    assert logs[0] == logs[1]


def watched(folder: Path, every: Optional[int], mode: str = "min", **options: Any) -> Any:
    """Every evaluation lowers the rate and, of a falling loss, is the best."""
    return trainer(
        folder,
        lambda: paddle.optimizer.lr.ReduceOnPlateau(0.1, factor=0.5, patience=0, threshold=10.0),
        evaluate_every=every,
        best=Best("valid/loss", mode=mode, patience=9),
        every_steps=7,
        keep=100,
        log_every=3,
        logger=[JsonlLogger(folder), VisualDLLogger(folder, "model")],
        **options,
    )


LENGTHS = [(None, {"max_steps": 7}), (2, {"max_steps": 7}), (7, {"max_steps": 7}), (4, {"max_steps": 10})]
LENGTHS += [(2, {"epochs": 1}), (5, {"epochs": 2}), (None, {"epochs": 2})]


MODES = [("min", *each) for each in LENGTHS] + [("max", *LENGTHS[1])]
MODES += [pytest.param("max", *each, marks=pytest.mark.full) for each in LENGTHS if each is not LENGTHS[1]]
LONG = {"epochs": 9, "max_steps": 18}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the folder that holds `straight`, a run of 18 steps, made once; to be copied."""

    @cache
    def made(every: Optional[int], mode: str = "min") -> Path:
        folder = tmp_path_factory.mktemp("longer")
        assert train(watched(folder / "straight", every, mode), **LONG).step == 18
        return folder

    return made


@pytest.mark.parametrize(("mode", "every", "short"), MODES)
def test_a_run_that_is_made_longer_has_no_trace_of_its_first_end(
    mode: str, every: Optional[int], short: dict[str, int], straight: Callable[..., Path], tmp_path: Path
) -> None:
    train(watched(tmp_path / "longer", every, mode), **{"epochs": 9, **short})
    again = train(watched(tmp_path / "longer", every, mode), **{"epochs": 9, **short})
    assert again.phase == "done" and again.step < 18
    longer = train(watched(tmp_path / "longer", every, mode), **LONG)
    assert longer.step == 18
    assert different(tmp_path, straight(every, mode)) == []


def different(folder: Path, straight: Optional[Path] = None) -> list[str]:
    """All but the checkpoint of the first end, where the straight run has none."""
    found = first_differences((straight or folder) / "straight", folder / "longer")
    return [line for line in found if "only in the killed run" not in line]


def test_an_end_that_is_not_undone_shows(
    straight: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = straight(2)
    train(watched(tmp_path / "longer", 2), max_steps=7, epochs=9)
    monkeypatch.setattr(Ending, "undo", lambda self: setattr(self._progress, "phase", "train"))
    train(watched(tmp_path / "longer", 2), max_steps=18, epochs=9)
    found = "\n".join(different(tmp_path, expected))
    assert "tensor 0.weight" in found and "metrics.jsonl: record" in found


@pytest.mark.parametrize("longer", [True, False])
def test_a_run_that_died_while_it_was_made_longer_goes_on(
    longer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has been cut back by then, and the last checkpoint is still that of the first end."""
    long = {"epochs": 9, "max_steps": 18}
    train(watched(tmp_path / "straight", 2), **(long if longer else {"epochs": 9, "max_steps": 7}))
    train(watched(tmp_path / "longer", 2), epochs=9, max_steps=7)
    with monkeypatch.context() as dying:
        dying.setattr(RunSaver, "save", _die)
        with pytest.raises(_Death):
            train(watched(tmp_path / "longer", 2), **long)
    train(watched(tmp_path / "longer", 2), **(long if longer else {"epochs": 9, "max_steps": 7}))
    assert different(tmp_path) == []


class _Death(BaseException):
    pass


def _die(*_: Any) -> None:
    raise _Death


def test_the_best_of_a_longer_run_is_not_overwritten_by_the_evaluation_of_an_end(tmp_path: Path) -> None:
    made = trainer(tmp_path, 0.01, evaluate_every=2, best=Best("valid/loss", final="best"))
    train(made, max_steps=7, epochs=9)
    assert made._parts.monitoring.best.step == 7
    assert load(tmp_path / "checkpoint" / "model_best").record.step == 6
    written = paddle.load(str(tmp_path / "model.pdparams"))
    assert {name: value.numpy().tobytes() for name, value in written.items()} == weights(made)
    assert [line for line in made.told if "step 7, is the best so far. Its weights are those of the last" in line]


def test_the_best_checkpoint_of_the_last_epoch_goes_on_where_more_epochs_are_wanted(tmp_path: Path) -> None:
    straight = train(trainer(tmp_path / "straight", 0.01, best=Best("valid/loss")), epochs=4)
    short = train(trainer(tmp_path / "short", 0.01, best=Best("valid/loss")), epochs=2)
    best = tmp_path / "short" / "checkpoint" / "model_best"
    assert short._parts.monitoring.best.step == 10
    again = train(trainer(tmp_path / "short", 0.01, best=Best("valid/loss")), epochs=4, resume=str(best))
    assert (again.restored.step, again.step) == (10, 20)
    assert weights(again) == weights(straight)
    assert read_records(tmp_path / "short" / "metrics.jsonl") == read_records(tmp_path / "straight" / "metrics.jsonl")


class Stop(Callback):
    def on_evaluate_begin(self, trainer: Any, split: str) -> None:
        if split == "test":
            raise OSError("a kill between the last evaluation and the finished weights")


def test_a_run_killed_at_its_end_goes_on_where_more_epochs_are_wanted(tmp_path: Path) -> None:
    straight = train(trainer(tmp_path / "straight"), epochs=3)
    with pytest.raises(OSError, match="a kill"):
        train(trainer(tmp_path / "killed", callbacks=[Stop()]), epochs=2)
    again = train(trainer(tmp_path / "killed"), epochs=3)
    assert (again.restored.step, weights(again)) == (10, weights(straight))


@pytest.mark.parametrize("name", ["exp/run1", "", ".hidden", "a\\b"])
def test_a_name_that_is_no_part_of_a_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="first part of its files' names, .* Give folders with save_dir"):
        trainer(tmp_path, name=name)


def test_logs_of_another_run_are_not_cut(tmp_path: Path) -> None:
    """Two runs with one folder and name for their logs, but checkpoints of their own."""

    def sharing(folder: str) -> Any:
        return trainer(tmp_path / folder, logger=[JsonlLogger(tmp_path), VisualDLLogger(tmp_path, "model")])

    train(sharing("one"))
    records = read_records(tmp_path / "metrics.jsonl")
    with pytest.raises(CheckpointError, match="is that of the run whose checkpoints are .*one/checkpoint/model_"):
        train(sharing("other"))
    with pytest.raises(CheckpointError, match=r"would be cut\. Give this run another folder or name for its logs"):
        train(sharing("other"), resume=str(tmp_path / "one" / "checkpoint" / "model_epoch0"))
    assert read_records(tmp_path / "metrics.jsonl") == records
    assert not list((tmp_path / "other").rglob("*.pdstates"))
    train(sharing("one"), epochs=4)
    shutil.rmtree(tmp_path / "one")
    train(sharing("other"))
    assert read_records(tmp_path / "metrics.jsonl") == records


def test_a_log_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    hold = "import sys, pathlib; from paddle_resume.loggers.log_claim import LogClaim; "
    hold += "claim = LogClaim(pathlib.Path('metrics.jsonl')); claim.take(pathlib.Path('other')); "
    hold += "print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and "held" in iter(holder.stdout.readline, "").__next__()
        with pytest.raises(CheckpointError, match="is being written by another process, of the run .*/other_"):
            train(trainer(tmp_path))
    finally:
        holder.communicate("")
    train(trainer(tmp_path))


class Delete(Callback):
    """Removes the folder of the logs after step 7, and a first record of it a second time after the resume."""

    def __init__(self, folder: Path, logger: Any) -> None:
        self.folder, self.logger = folder, logger

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step == 7:
            self.logger.flush()
            shutil.rmtree(self.folder)


def test_a_log_folder_that_is_deleted_in_mid_run_is_told_of_and_written_anew(tmp_path: Path) -> None:
    train(trainer(tmp_path / "straight", logger=JsonlLogger(tmp_path / "straight" / "log"), log_every=1))
    log = tmp_path / "deleted" / "log"
    logger = JsonlLogger(log)
    made = trainer(tmp_path / "deleted", logger=logger, log_every=1, callbacks=[Delete(log, logger)])
    train(made)
    assert read_records(log / "metrics.jsonl") == read_records(tmp_path / "straight" / "log" / "metrics.jsonl")
    assert [line for line in made.told if "was deleted or replaced while this run wrote to it" in line]


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


class Counting(Callback):
    """Counts the saves, of which no checkpoint tells."""

    def __init__(self) -> None:
        self.saves = 0

    def on_save(self, trainer: Any, prefix: Path) -> None:
        self.saves += 1


def test_state_that_changes_in_on_save_is_told_of_once(tmp_path: Path) -> None:
    made = train(trainer(tmp_path, callbacks=[Counting()]))
    assert [text for text in made.told if "on_save" in text] == [
        "on_save has changed callback.Counting.saves. The checkpoint was written before, so a resume begins without "
        "that, and need not end as if untouched: change state in on_step_end or on_epoch_end instead."
    ]


class Mean(paddle.nn.Layer):
    """Puts another tensor into its buffer in each step."""

    def __init__(self, persistable: bool) -> None:
        super().__init__()
        self.out = paddle.nn.Linear(8, 2)
        self.register_buffer("mean", paddle.zeros([8]), persistable=persistable)
        self.mean.name = "mean"  # Files have it, and the next run in this process would count on.

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.out(x - self.mean)


class Pulls(Callback):
    """Changes weights where the run is evaluated and logged, which its end makes it do once more."""

    def on_evaluate_end(self, trainer: Any, split: str, results: Any) -> None:
        trainer.model.out.bias.set_value(trainer.model.out.bias + 0.01)

    def on_log(self, trainer: Any, scalars: Any) -> None:
        trainer.model.mean.set_value(trainer.model.mean * 0.9)


@pytest.mark.parametrize("pulls", [False, True])
@pytest.mark.parametrize("persistable", [False, True])
def test_an_end_that_is_undone_leaves_the_models_tensors_as_they_were(
    persistable: bool, pulls: bool, tmp_path: Path
) -> None:
    def run(name: str, steps: int) -> Any:
        made = watched(tmp_path / name, 4, model=lambda: Mean(persistable), callbacks=[Pulls()] if pulls else [])
        return train(made, epochs=9, max_steps=steps)

    run("straight", 18)
    run("longer", 7)
    run("longer", 18)
    assert different(tmp_path) == []
