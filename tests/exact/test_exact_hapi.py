"""`paddle.Model.fit` with ExactResume: however it is ended, and wherever, it goes on and ends the same."""

from __future__ import annotations

import random
import signal
import subprocess
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Callable

import forking
import pytest
from fitting import ROWS, Crash, fit, record
from places import EXAMPLES, PROGRAMS

from paddle_resume.checkpoint import owner_states
from paddle_resume.data.stream import Stream
from paddle_resume.errors import DataError
from paddle_resume.found_state.owners import FoundState
from paddle_resume.loggers import read_scalars
from paddle_resume.stateful import Owners
from paddle_resume.testing import first_differences
from paddle_resume.training.found_data import _HeldByDataset

# ---------------------------------------------------------------- the tutorial: real processes, real signals


def tutorial(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return forking.run([PROGRAMS / "fit_tutorial.py", *arguments], folder)


def interrupted(folder: Path, signum: int, batch: int, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return tutorial(folder, "--signal", int(signum), "--at", batch, *arguments)


def test_the_tutorial_killed_and_interrupted_anywhere_ends_bit_for_bit_as_if_untouched(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert tutorial(straight).returncode == 0
    # Of 26 batches, 13 an epoch; a save after every third.
    first, second = random.randrange(1, 9), random.randrange(16, 25)
    told = f"killed in batches {first} and {second}"
    assert interrupted(killed, signal.SIGKILL, first).returncode == -signal.SIGKILL
    stopped = interrupted(killed, signal.SIGTERM, 10)
    assert "Stopped after step 11. Run the same program again to continue" in stopped.stderr
    assert stopped.returncode == 128 + signal.SIGTERM
    assert interrupted(killed, signal.SIGKILL, second).returncode == -signal.SIGKILL
    assert tutorial(killed).returncode == 0
    assert first_differences(straight, killed) == [], told
    curves = read_scalars(killed / "log" / "vdlrecords.lenet.log")
    assert [step for step, _, _ in curves["train/loss"]] == list(range(1, 27))
    assert [step for step, _, _ in curves["eval/acc"]] == [0, 1]


def test_the_tutorial_as_it_stands_ends_otherwise_after_one_kill(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert tutorial(straight, "--plain").returncode == 0
    assert interrupted(killed, signal.SIGKILL, 18, "--plain").returncode == -signal.SIGKILL

    def same(weights: str) -> bool:
        return (straight / "output" / weights).read_bytes() == (killed / "output" / weights).read_bytes()

    assert same("0.pdparams")  # saved before the kill: nothing else tells the two apart
    assert tutorial(killed, "--plain").returncode == 0
    assert not same("mnist.pdparams")


@pytest.mark.full
def test_the_example_runs(tmp_path: Path) -> None:
    ran = forking.run([PROGRAMS / "small_mnist.py", EXAMPLES / "hapi_lenet.py"], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert record(tmp_path).phase == "done"
    assert (tmp_path / "output" / "mnist.pdparams").exists()


# ---------------------------------------------------------------- what fit can be given, row by row


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a fit that nothing interrupted, made once."""

    @cache
    def made(row: str) -> Path:
        folder = tmp_path_factory.mktemp("straight")
        fit(folder, ROWS[row]())
        return folder

    return made


EVENTS = [
    ("on_train_batch_end", 4),
    ("on_epoch_end", 0),
    ("on_eval_batch_end", 1),
    ("on_train_batch_begin", 9),
]
# The state that these have is in others too; mixed precision does nothing on a CPU.
AGAIN = ("no evaluation in some epochs", "mixed precision", "a rate that falls by step", "two workers")
# What is found in the data has one owner, with all else that is found.
KEEPING = tuple(row for row in ROWS if row.endswith("keeps state"))
AGAIN_ALONE = ("model", "optimizer", "scheduler")


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.full if row in AGAIN else ()) for row in ROWS])
def test_a_fit_that_is_cut_short_again_and_again_ends_as_if_untouched(
    row: str, straight: Callable[[str], Path], tmp_path: Path
) -> None:
    expected, crashed = straight(row), tmp_path / "crashed"
    crashes = 0
    for event in EVENTS:
        if "eval" in event[0] and ROWS[row]().get("eval_data", "some") is None:
            continue
        try:
            fit(crashed, ROWS[row](), event)
        except Crash:
            crashes += 1
    fit(crashed, ROWS[row]())
    assert crashes >= 2
    assert first_differences(expected, crashed) == []
    events = record(crashed).lineage
    assert sum(event["event"] == "resume" for event in events) >= 2
    assert all(event.get("exact", True) for event in events)


CONTROLS = {
    "data": ("plain", ("on_train_batch_end", 10)),
    "model": ("plain", ("on_train_batch_end", 10)),
    "optimizer": ("plain", ("on_train_batch_end", 10)),
    "metric.Accuracy": ("plain", ("on_train_batch_end", 10)),
    "callback.VisualDL": ("plain", ("on_train_batch_end", 10)),
    "log.VisualDLLogger": ("plain", ("on_train_batch_end", 11)),
    "position": ("plain", ("on_train_batch_end", 10)),
    "rng": ("a user's callback", ("on_train_batch_end", 10)),
    "callback.History": ("a user's callback", ("on_train_batch_end", 10)),
    "callback.EarlyStopping": ("early stopping", ("on_train_batch_end", 10)),
    "callback.ReduceLROnPlateau": ("a rate that falls on a plateau", ("on_train_batch_end", 18)),
    "rate": ("a rate that falls on a plateau", ("on_train_batch_end", 18)),
    "scheduler": ("a rate that falls by epoch", ("on_train_batch_end", 10)),
}


@pytest.mark.parametrize("row", KEEPING)
def test_what_data_keep_decides_how_a_fit_goes_on(
    row: str, straight: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of these rows: without what is found, they end otherwise."""
    expected = straight(row)
    with pytest.raises(Crash):
        fit(tmp_path, ROWS[row](), ("on_train_batch_end", 6))
    monkeypatch.setattr(FoundState, "set_state_dict", lambda owner, state: None)
    fit(tmp_path, ROWS[row]())
    assert first_differences(expected, tmp_path)


def test_a_stream_that_is_drawn_again_from_what_it_holds_now_is_another_one(
    straight: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of what it held when the pass began, in which the fit is cut short: it is told."""
    row = "a stream that keeps state"
    expected = straight(row)
    with pytest.raises(Crash):
        fit(tmp_path, ROWS[row](), ("on_train_batch_end", 6))
    monkeypatch.setattr(_HeldByDataset, "as_at", lambda held, begun: nullcontext())
    with pytest.raises(DataError, match="gives other samples now than before the interruption"):
        fit(tmp_path, ROWS[row]())
    monkeypatch.setattr(Stream, "_require_the_same", lambda *_: None)
    fit(tmp_path, ROWS[row]())
    assert first_differences(expected, tmp_path)


@pytest.mark.parametrize(
    "owner", [pytest.param(owner, marks=pytest.mark.full if owner in AGAIN_ALONE else ()) for owner in CONTROLS]
)
def test_a_fit_ends_otherwise_when_one_owner_is_not_restored(
    owner: str, straight: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, event = CONTROLS[owner]
    expected = straight(row)
    with pytest.raises(Crash):
        fit(tmp_path / "crashed", ROWS[row](), event)
    restore = owner_states.restore

    def forgetful(owners: Owners, *states: Any) -> None:
        if owner not in owners:  # It is found by its path.
            found = owners["found"]
            assert isinstance(found, FoundState)
            found.without.add(owner)
        restore(Owners(**{name: each for name, each in owners.items() if name != owner}), *states)

    monkeypatch.setattr(owner_states, "restore", forgetful)
    fit(tmp_path / "crashed", ROWS[row]())
    assert first_differences(expected, tmp_path / "crashed")
