"""State that nobody lists, found and put back: each kind across kills, and a control that forgets it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from forking import assert_exact_resume, run_life
from places import PROGRAMS
from small_run import Points, trainer

from paddle_resume import Callback
from paddle_resume.checkpoint.reader import load
from paddle_resume.errors import CheckpointError, StateError
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

PROGRAM = str(PROGRAMS / "train_found.py")
# 5 steps an epoch, and saves every 3: steps 5, 8 and 11 are made again, from steps 3, 6 and 9.
KILLS = [Kill("step", 5), Kill("step", 8), Kill("save", 3, 6), Kill("step", 11)]
FEW = [KILLS[0], KILLS[2]]
# What is seen in its kind's other row as well.
AGAIN = ("gru", "simple-rnn", "hidden-buffer")
CASES = [
    *("lstm", "gru", "simple-rnn", "buffer", "hidden-buffer", "late-buffer", "average-of-buffer", "loss"),
    *("lookahead", "model-average", "epoch-begin", "containers", "train-begin", "optimizer", "dataset", "collate"),
    *("metric", "trainer", "made-at-begin", "schedule", "by-name", "indirect", "sample-weights"),
    *("members", "gradients"),
]
# Where another owner has the state as well, or none is there on a CPU.
NOT_FOUND = ("lstm", "gru", "simple-rnn", "buffer", "hidden-buffer", "average-of-buffer")


@pytest.mark.parametrize(
    "what", [pytest.param(each, marks=pytest.mark.full if each in AGAIN else ()) for each in CASES]
)
def test_a_killed_run_ends_as_if_untouched(what: str, tmp_path: Path) -> None:
    assert_exact_resume([PROGRAM, "--what", what], tmp_path, FEW)


@pytest.mark.full
@pytest.mark.parametrize("what", CASES)
def test_a_run_that_is_killed_often_ends_as_if_untouched(what: str, tmp_path: Path) -> None:
    assert_exact_resume([PROGRAM, "--what", what], tmp_path, KILLS)


@pytest.mark.parametrize("what", [each for each in CASES if each not in NOT_FOUND])
def test_the_proof_fails_where_what_was_found_is_forgotten(what: str, tmp_path: Path) -> None:
    program = [PROGRAM, "--what", what, "--inline"]
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
    assert run_life(program, tmp_path / "straight", Plan(str(tmp_path / "report")), timeout=300)
    assert not run_life(program, tmp_path / "killed", Plan(str(tmp_path / "report"), Kill("step", 8)), timeout=300)
    plan = Plan(str(tmp_path / "report"), None, ["found", "found.arrays"])
    run_life(program, tmp_path / "killed", plan, timeout=300)
    assert first_differences(tmp_path / "straight", tmp_path / "killed")


def test_large_arrays_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert run_life([PROGRAM, "--what", "containers"], tmp_path / "run", Plan(str(tmp_path / "report")), timeout=300)
    loaded = load(tmp_path / "run" / "checkpoint" / "model_step9")
    assert list(loaded.tensors[".pdfound"]) == ["callback.Containers.big"]
    assert set(loaded.record.owners["found"]["ranks"][0]["moved"]) >= {
        "callback.Containers",
        "callback.Containers.window",
    }


class Levelled(Points):
    level = 0

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x * np.float32(1 - 0.1 * self.level), y


class Harder(Callback):
    """Changes the data at an epoch's begin, or in each step."""

    def __init__(self, data: Levelled, hook: str) -> None:
        self.data, self.hook = data, hook

    def on_epoch_begin(self, trainer: Any) -> None:
        self.data.level += self.hook == "on_epoch_begin"

    def on_step_end(self, trainer: Any) -> None:
        self.data.level += self.hook == "on_step_end"


@pytest.mark.parametrize(("hook", "workers"), [("on_epoch_begin", 2), ("on_step_end", 0), ("on_step_end", 2)])
def test_data_that_a_callback_changes_are_put_back_or_refused(hook: str, workers: int, tmp_path: Path) -> None:
    def run(name: str, steps: int) -> dict[str, np.ndarray]:
        data = Levelled()
        made = trainer(tmp_path / name, callbacks=[Harder(data, hook)], every_steps=2, keep=100)
        made.train(data, epochs=9, max_steps=steps, global_batch_size=8, num_workers=workers)
        return {key: value.numpy() for key, value in made.model.state_dict().items()}

    if (hook, workers) == ("on_step_end", 2):
        with pytest.raises(StateError, match=r"data\.train was changed while data workers, which do not see it"):
            run("refused", 4)
        return
    straight = run("straight", 12)
    for steps in (2, 4, 8):
        run("resumed", steps)
    resumed = run("resumed", 12)
    assert all(np.array_equal(straight[name], resumed[name]) for name in straight)


def test_an_optimizer_or_a_layer_that_takes_anothers_place_is_refused_by_path(tmp_path: Path) -> None:
    class Swaps(Callback):
        def __init__(self, what: str) -> None:
            self.what = what

        def on_step_end(self, run: Any) -> None:
            if self.what == "optimizer":
                run.optimizer = paddle.optimizer.SGD(0.1, parameters=run.model.parameters())
            else:
                run.model[0] = paddle.nn.Linear(8, 16)

    for what, path in (("optimizer", r"trainer\.optimizer: a SGD"), ("layer", r"model\.0: a Linear")):
        made = trainer(tmp_path / what, callbacks=[Swaps(what)], every_steps=2)
        with pytest.raises(StateError, match=f"{path} made in the course of the run"):
            made.train(Points(), max_steps=4, global_batch_size=8)


class Copies(Callback):
    """Keeps a copy of the model that it makes as the run begins, or nothing."""

    def __init__(self, makes: bool = True) -> None:
        self.makes = makes
        if not makes:
            self.on_train_begin = super().on_train_begin  # type: ignore[method-assign]

    def on_train_begin(self, trainer: Any) -> None:
        self.copy = copy.deepcopy(trainer.model)


def test_what_nobody_makes_any_more_as_the_run_begins_is_missed(tmp_path: Path) -> None:
    trainer(tmp_path, callbacks=[Copies()], every_steps=5).train(Points(), epochs=1, global_batch_size=8)
    with pytest.raises(CheckpointError, match=r"there is nothing at callback\.Copies\.copy"):
        trainer(tmp_path, callbacks=[Copies(False)], every_steps=5).train(Points(), epochs=2, global_batch_size=8)


def test_what_cannot_be_saved_of_what_is_made_as_the_run_begins_is_refused_then(tmp_path: Path) -> None:
    class Running(Callback):
        def on_train_begin(self, trainer: Any) -> None:
            self.numbers = (number for number in range(3))

    with pytest.raises(StateError, match=r"callback\.Running\.numbers: a running generator"):
        trainer(tmp_path, callbacks=[Running()]).train(Points(), epochs=1, global_batch_size=8)
    assert not list((tmp_path / "checkpoint").glob("*.pdparams"))
