"""`paddle.Model.fit` with ExactResume: however it is ended, and wherever, it goes on and ends the same."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.checkpoint import checkpointer
from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.reader import load
from paddle_resume.errors import CheckpointError, DataError, InexactResumeError, StateError
from paddle_resume.hapi import ExactResume
from paddle_resume.loggers import read_scalars
from paddle_resume.schedule import SaveSchedule
from paddle_resume.stateful import Owners
from paddle_resume.testing import first_differences

PROGRAMS = Path(__file__).parent / "programs"
EXAMPLES = Path(__file__).parent.parent / "examples"

# ---------------------------------------------------------------- the tutorial: real processes, real signals


def tutorial(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(PROGRAMS / "fit_tutorial.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def interrupted(folder: Path, signum: int, batch: int, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return tutorial(folder, "--signal", int(signum), "--at", batch, *arguments)


def test_the_tutorial_killed_and_interrupted_anywhere_ends_bit_for_bit_as_if_untouched(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert tutorial(straight).returncode == 0
    # Of 26 batches, 13 an epoch; a save after every third.
    first, second = random.randrange(1, 9), random.randrange(16, 25)
    told = f"killed in batches {first} and {second}"
    assert interrupted(killed, signal.SIGKILL, first).returncode == -signal.SIGKILL
    stopped = interrupted(killed, signal.SIGINT, 10)
    assert "Stopped after step 11. Run the same command again to continue." in stopped.stderr
    assert stopped.returncode == -signal.SIGINT
    assert interrupted(killed, signal.SIGTERM, 14).returncode == 128 + signal.SIGTERM
    assert interrupted(killed, signal.SIGKILL, second).returncode == -signal.SIGKILL
    assert tutorial(killed).returncode == 0
    assert first_differences(straight, killed) == [], told
    curves = read_scalars(killed / "log" / "vdlrecords.lenet.log")
    assert [step for step, _, _ in curves["train/loss"]] == list(range(1, 27))
    assert [step for step, _, _ in curves["eval/acc"]] == [0, 1]
    again = tutorial(killed)
    assert "This run has made 26 steps: nothing is left to do." in again.stderr
    assert first_differences(straight, killed) == [], told


def test_the_tutorial_as_it_stands_ends_otherwise_after_one_kill(tmp_path: Path) -> None:
    weights = {}
    for folder in ("straight", "again", "killed"):
        if folder == "killed":
            assert interrupted(tmp_path / folder, signal.SIGKILL, 18, "--plain").returncode == -signal.SIGKILL
        assert tutorial(tmp_path / folder, "--plain").returncode == 0
        weights[folder] = (tmp_path / folder / "output" / "mnist.pdparams").read_bytes()
    assert weights["straight"] == weights["again"]
    assert weights["straight"] != weights["killed"]


def test_the_example_runs_and_then_has_nothing_left_to_do(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAMS / "small_mnist.py"), str(EXAMPLES / "hapi_lenet.py")]
    for said in ("step 0", "nothing is left to do"):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        assert (said in ran.stderr) == (said != "step 0")
        assert (tmp_path / "output" / "mnist.pdparams").exists()


# ---------------------------------------------------------------- what fit can be given, row by row


class Crash(Exception):
    """Ends a fit where it stands, with nothing told to anyone; the objects it had are thrown away."""


class CrashAt(paddle.callbacks.Callback):
    """Raises Crash in the event `name` the n-th time that it comes, if there is an `at`, `(name, n)`."""

    def __init__(self, at: Optional[tuple[str, int]]) -> None:
        super().__init__()
        self._name, count = at or ("", 0)
        self._left = iter(range(count))  # which is no plain value, and so no state

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_") and self._name == name and next(self._left, None) is None:
            raise Crash
        return super().__getattribute__(name)


class History(paddle.callbacks.Callback):
    """Notes what it is told, and draws from every generator, as a callback of a user's may."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.epochs_begun = 0
        self.weights = paddle.zeros([2])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs_begun += 1

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        drawn = random.random() + np.random.rand() + paddle.rand([1]).item()
        self.seen.append(["batch", step, logs["step"], logs["loss"][0], logs["batch_size"], drawn])
        self.weights = self.weights + step

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(["epoch", epoch, dict(logs)])

    def on_eval_end(self, logs: Any = None) -> None:
        self.seen.append(["eval", dict(logs)])


class Counting(History):
    """The same with state methods of its own."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "begun": self.epochs_begun}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.seen, self.epochs_begun = state["seen"], state["begun"]


class Points(paddle.io.Dataset):
    """Points of eight numbers with noise, labelled by whether their sum is large."""

    def __init__(self, count: int = 52, seed: int = 0, noise: float = 0.1) -> None:
        self.x = np.random.RandomState(seed).rand(count, 8).astype(np.float32)
        self.noise = noise

    def __getitem__(self, index: int) -> Any:
        x = self.x[index]
        return x + np.float32(self.noise * np.random.rand()), np.array([x.sum() > 4], np.int64)

    def __len__(self) -> int:
        return len(self.x)


class Nested(Points):
    """The same with two inputs, in a nest."""

    def __getitem__(self, index: int) -> Any:
        x, label = super().__getitem__(index)
        return (x[:3], x[3:]), label


class Stream(paddle.io.IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        for _ in range(30):
            x = np.random.rand(8).astype(np.float32)
            yield x, np.array([x.sum() > 4], np.int64)


class Net(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.body = paddle.nn.Sequential(
            paddle.nn.Linear(8, 16), paddle.nn.BatchNorm1D(16), paddle.nn.Dropout(0.3), paddle.nn.Linear(16, 2)
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.body(x)


class NetOfTwo(Net):
    def forward(self, x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
        return self.body(paddle.concat([x, y], axis=1))


def restarts() -> Any:
    return paddle.optimizer.lr.CosineAnnealingWarmRestarts(0.05, 5)


def loader(**options: Any) -> paddle.io.DataLoader:
    return paddle.io.DataLoader(Points(), batch_size=8, **options)


hapi = paddle.callbacks
# Made anew for each life of a fit. 52 samples are 7 batches of 8.
ROWS: dict[str, Any] = {
    "plain": dict,
    "no evaluation": lambda: {"eval_data": None},
    "no evaluation in some epochs": lambda: {"eval_freq": 2},
    "early stopping": lambda: {"callbacks": [hapi.EarlyStopping("acc", patience=2)], "epochs": 9},
    "a rate that falls on a plateau": lambda: {"callbacks": [hapi.ReduceLROnPlateau("loss", patience=1, min_delta=1)]},
    "a rate that falls by epoch": lambda: {"callbacks": [hapi.LRScheduler(False, True)], "rate": restarts()},
    "a rate that falls by step": lambda: {"rate": restarts()},
    "gradients of three batches": lambda: {"accumulate_grad_batches": 3},
    "a number of iterations": lambda: {"num_iters": 19, "epochs": 1},
    "a user's callback": lambda: {"callbacks": [History()]},
    "two of them with state methods": lambda: {"callbacks": [Counting(), Counting()]},
    "a DataLoader": lambda: {"train_data": loader(shuffle=True, drop_last=True), "eval_data": loader()},
    "two workers": lambda: {"num_workers": 2},
    "a nest of inputs": lambda: {"net": NetOfTwo, "train_data": Nested(), "eval_data": Nested(20)},
    "a stream": lambda: {"train_data": paddle.io.DataLoader(Stream(), batch_size=8)},
    "an evaluation on batches made by hand": lambda: {"eval_data": by_hand()},
    "mixed precision": lambda: {"amp": "O1"},
    "several metrics": lambda: {"metrics": [paddle.metric.Accuracy((1, 2)), Positives()]},
}


def by_hand() -> list[Any]:
    return [[paddle.to_tensor(Points(8).x), paddle.ones([8, 1], "int64")]]


class Positives(paddle.metric.Metric):
    """A metric of a user's: an array, and a sum in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def update(self, labels: Any) -> None:
        self.counts += np.bincount(labels.reshape(-1), minlength=2)
        self.share = np.float32(self.share + labels.mean())

    def compute(self, output: Any, labels: Any) -> Any:
        return labels

    def accumulate(self) -> float:
        return float(self.counts[1] + self.share)

    def reset(self) -> None:
        self.counts, self.share = np.zeros(2, np.int64), np.float32(0)

    def name(self) -> str:
        return "positives"


@paddle.utils.unique_name.guard()  # parameters are called as in a new process
def fit(folder: Path, row: dict[str, Any], crash: Optional[tuple[str, int]] = None, **exact: Any) -> paddle.Model:
    """One life of a fit, on new objects."""
    paddle_resume.seed_everything(3)
    options = {"train_data": Points(), "eval_data": Points(20, 1, 0.0), "epochs": 3, "batch_size": 8, **row}
    given = options.pop("callbacks", [])
    model = paddle.Model(options.pop("net", Net)())
    rate, metrics = options.pop("rate", 0.05), options.pop("metrics", paddle.metric.Accuracy())
    optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters())
    model.prepare(optimizer, paddle.nn.CrossEntropyLoss(), metrics, amp_configs=options.pop("amp", None))
    schedule = exact.pop("schedule", SaveSchedule(every_steps=2))
    exact_resume = ExactResume(folder / "checkpoint", schedule=schedule, background=False, keep_epochs=None, **exact)
    callbacks = [hapi.VisualDL(str(folder / "log")), *given, exact_resume, CrashAt(crash)]
    model.fit(verbose=0, save_dir=str(folder / "output"), callbacks=callbacks, **options)
    return model


EVENTS = [
    ("on_train_batch_end", 4),
    ("on_epoch_end", 0),
    ("on_eval_batch_end", 1),
    ("on_epoch_begin", 1),
    ("on_train_batch_begin", 3),
    ("on_eval_end", 0),
]
# The state that these have is in others too; mixed precision does nothing on a CPU.
AGAIN = ("no evaluation in some epochs", "mixed precision", "a rate that falls by step", "two workers")


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.full if row in AGAIN else ()) for row in ROWS])
def test_a_fit_that_is_cut_short_again_and_again_ends_as_if_untouched(row: str, tmp_path: Path) -> None:
    straight, crashed = tmp_path / "straight", tmp_path / "crashed"
    fit(straight, ROWS[row]())
    crashes = 0
    for event in EVENTS:
        try:
            fit(crashed, ROWS[row](), event)
        except Crash:
            crashes += 1
    fit(crashed, ROWS[row]())
    assert crashes >= 3
    assert first_differences(straight, crashed) == []
    events = record(crashed).lineage
    assert sum(event["event"] == "resume" for event in events) >= 3
    assert all(event.get("exact", True) for event in events)


def record(folder: Path) -> Any:
    return load(find_all(folder / "checkpoint")[0].prefix).record


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


@pytest.mark.parametrize("owner", CONTROLS)
def test_a_fit_ends_otherwise_when_one_owner_is_not_restored(
    owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, event = CONTROLS[owner]
    fit(tmp_path / "straight", ROWS[row]())
    with pytest.raises(Crash):
        fit(tmp_path / "crashed", ROWS[row](), event)
    restore = checkpointer._restore

    def forgetful(owners: Owners, *states: Any) -> None:
        restore(Owners(**{name: each for name, each in owners.items() if name != owner}), *states)

    monkeypatch.setattr(checkpointer, "_restore", forgetful)
    fit(tmp_path / "crashed", ROWS[row]())
    assert first_differences(tmp_path / "straight", tmp_path / "crashed")


# ---------------------------------------------------------------- what it leaves alone, and what it refuses


def weights(model: paddle.Model) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.network.state_dict().values())


def test_a_fit_whose_data_are_not_shuffled_ends_as_without_the_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row() -> dict[str, Any]:
        return {"net": Plain, "train_data": Points(noise=0.0), "shuffle": False, "callbacks": [Seen()]}

    class Seen(hapi.Callback):
        def on_train_batch_end(self, step: int, logs: Any = None) -> None:
            told.append((step, logs["step"], logs["loss"], logs["acc"], logs["batch_size"]))

    class Plain(Net):
        def __init__(self) -> None:
            super().__init__()
            self.body[2] = paddle.nn.ReLU()  # dropout would draw other numbers on Paddle 2.6

    told: list[Any] = []
    ours = weights(fit(tmp_path, row()))
    ours_told, told[:] = list(told), []
    monkeypatch.setattr(ExactResume, "on_train_begin", lambda self, logs=None: None)
    assert weights(fit(tmp_path, row())) == ours
    assert told == ours_told


def test_a_run_wanted_longer_goes_on_and_ends_as_if_it_had_been_so_from_the_start(tmp_path: Path) -> None:
    fit(tmp_path / "straight", {"epochs": 3})
    fit(tmp_path / "longer", {"epochs": 1})
    ours = fit(tmp_path / "longer", {"epochs": 3})
    assert weights(ours) == weights(fit(tmp_path / "straight", {"epochs": 3}))
    curve = read_scalars(tmp_path / "longer" / "log" / "vdlrecords.model.log")
    assert curve == read_scalars(tmp_path / "straight" / "log" / "vdlrecords.model.log")


def test_a_run_wanted_shorter_than_it_is_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = weights(fit(tmp_path, {"epochs": 2}))
    assert weights(fit(tmp_path, {"epochs": 1})) == ours
    assert "This run has made 14 steps: nothing is left to do." in capsys.readouterr().err


def test_weights_that_nobody_seeded_are_those_of_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = weights(fit(tmp_path / "straight", {}))
    with pytest.raises(Crash):
        fit(tmp_path / "crashed", {}, ("on_train_batch_begin", 0))
    monkeypatch.setattr(paddle_resume, "seed_everything", lambda seed: paddle.seed(99))
    assert weights(fit(tmp_path / "crashed", {})) == straight


def test_model_and_callbacks_are_as_they_were_however_a_fit_ends(tmp_path: Path) -> None:
    curves = hapi.VisualDL(str(tmp_path / "curves"))
    model = fit(tmp_path, {"callbacks": [curves]})
    assert "_run_one_epoch" not in vars(model)
    before = signal.getsignal(signal.SIGINT), paddle.Model._run_one_epoch
    with pytest.raises(Crash):
        fit(tmp_path, {"callbacks": [curves], "epochs": 4}, ("on_train_batch_end", 1))
    assert not hasattr(curves, "writer")
    assert (signal.getsignal(signal.SIGINT), paddle.Model._run_one_epoch) == before
    fit(tmp_path, {"callbacks": [curves], "epochs": 4})  # the run is not held by the fit that crashed


def test_the_progress_bar_goes_on_at_the_step_where_the_run_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def bar() -> dict[str, Any]:
        return {"callbacks": [hapi.ProgBarLogger(log_freq=1, verbose=2)], "eval_data": None}

    with pytest.raises(Crash):
        fit(tmp_path, bar(), ("on_train_batch_end", 12))
    capsys.readouterr()
    fit(tmp_path, bar())
    said = capsys.readouterr().out.splitlines()
    steps = [line.split()[1] for line in said if line.startswith(("step", "Epoch"))]
    assert steps == ["2/3", "6/7", "7/7", "3/3", *(f"{n}/7" for n in range(1, 8))]


def test_an_evaluation_of_a_callbacks_own_leaves_no_trace(tmp_path: Path) -> None:
    class Evaluates(hapi.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if self.looks:
                self.model.evaluate(Points(16), batch_size=8, verbose=0)

    def row(looks: bool) -> dict[str, Any]:
        callback = Evaluates()
        callback.looks = looks
        return {"callbacks": [callback]}

    assert weights(fit(tmp_path / "one", row(True))) == weights(fit(tmp_path / "other", row(False)))


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "patience": (
        {"callbacks": [hapi.EarlyStopping("acc", patience=5)]},
        {"callbacks": [hapi.EarlyStopping("acc", patience=6)]},
        "callback.EarlyStopping patience: 5 -> 6",
    ),
    "a callback less": (
        {"callbacks": [History()]},
        {},
        "state of 'callback.History': saved -> nobody here owns it",
    ),
    "batch size": ({}, {"batch_size": 4}, "data batch_size: 8 -> 4"),
    "the evaluation's data": ({}, {"eval_data": Points(21, 1, 0.0)}, "valid data length: 20 -> 21"),
    "accumulation": ({}, {"accumulate_grad_batches": 2}, "fit accumulate_grad_batches: 1 -> 2"),
    "iterations": ({"num_iters": 20}, {"num_iters": 21}, "fit num_iters: 20 -> 21"),
    "learning rate": ({}, {"rate": 0.1}, "learning rate float.value: 0.05 -> 0.1"),
    "metric": (
        {},
        {"metrics": paddle.metric.Accuracy((1, 2), name="acc")},
        r"metric.Accuracy topk: \[1\] -> \[1, 2\]",
    ),
    "mixed precision": ({}, {"amp": "O1"}, "amp_configs level: O0 -> O1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_alters_the_run_stops_a_resume_and_is_named(change: str, tmp_path: Path) -> None:
    before, after, named = CHANGES[change]
    with pytest.raises(Crash):
        fit(tmp_path, before, ("on_train_batch_end", 4))
    with pytest.raises(InexactResumeError, match=named):
        fit(tmp_path, after)


def test_going_on_all_the_same_is_possible_and_noted(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        fit(tmp_path, {}, ("on_train_batch_end", 4))
    fit(tmp_path, {"batch_size": 4}, allow_inexact=True)
    assert not record(tmp_path).exact


def test_starting_over_needs_to_be_asked_for_twice(tmp_path: Path) -> None:
    ours = weights(fit(tmp_path, {}))
    with pytest.raises(CheckpointError, match="--overwrite"):
        fit(tmp_path, {}, resume="none")
    assert weights(fit(tmp_path, {}, resume="none", overwrite=True)) == ours
    assert [event["event"] for event in record(tmp_path).lineage] == ["start"]


class EveryOther(paddle.io.Sampler):
    def __iter__(self) -> Iterator[int]:
        return iter(range(0, 52, 2))

    def __len__(self) -> int:
        return 26


def of_every_other() -> paddle.io.DataLoader:
    return paddle.io.DataLoader(Points(), batch_sampler=paddle.io.BatchSampler(sampler=EveryOther(), batch_size=8))


REFUSED: dict[str, tuple[dict[str, Any], type, str]] = {
    "a sampler of one's own": ({"train_data": of_every_other()}, DataError, "draws its order from EveryOther"),
    "batches made by hand": ({"train_data": by_hand()}, DataError, "Data of type list cannot be fed"),
    "two of it": ({"callbacks": [ExactResume("elsewhere")]}, StateError, "two ExactResume callbacks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_resumed_is_refused_with_what_to_do(case: str, tmp_path: Path) -> None:
    row, kind, told = REFUSED[case]
    with pytest.raises(kind, match=told):
        fit(tmp_path, row)


def test_outside_of_fit_it_says_where_it_belongs() -> None:
    with pytest.raises(StateError, match=r"give it to fit\(callbacks="):
        ExactResume().on_train_begin()


def test_a_model_without_an_optimizer_says_what_to_call(tmp_path: Path) -> None:
    model = paddle.Model(Net())
    model.prepare(loss=paddle.nn.CrossEntropyLoss())
    with pytest.raises(StateError, match="call model.prepare"):
        model.fit(Points(), verbose=0, callbacks=[ExactResume(tmp_path)])


def test_a_curve_that_could_not_be_cut_back_is_refused(tmp_path: Path) -> None:
    class WithHistogram(hapi.VisualDL):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.writer.add_histogram("weights", [1.0], epoch)

    with pytest.raises(StateError, match="add_histogram cannot be used"):
        fit(tmp_path, {"callbacks": [WithHistogram(str(tmp_path / "other"))]})
