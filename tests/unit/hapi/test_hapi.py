"""What ExactResume leaves alone in a `paddle.Model.fit`, what it compares on a resume, and what it refuses."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from fitting import Crash, History, Net, Points, by_hand, fit, hapi, record

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.errors import CheckpointError, DataError, InexactResumeError, StateError
from paddle_resume.hapi import ExactResume
from paddle_resume.loggers import read_scalars
from paddle_resume.training.save_schedule import SaveSchedule


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


@pytest.mark.parametrize(
    ("event", "phase", "step"), [("on_eval_batch_end", "evaluate", 7), ("on_train_batch_end", "train", 2)]
)
def test_ctrl_c_ends_an_evaluation_or_a_step_and_the_run_goes_on_exactly(
    event: str, phase: str, step: int, tmp_path: Path
) -> None:
    class PressesCtrlC(hapi.Callback):
        def on_eval_batch_end(self, at: int, logs: Any = None) -> None:
            self._press("on_eval_batch_end", at)

        def on_train_batch_end(self, at: int, logs: Any = None) -> None:
            self._press("on_train_batch_end", at)

        def _press(self, name: str, at: int) -> None:
            if name == event and at == 1 and presses:
                presses.pop()
                signal.raise_signal(signal.SIGINT)

    presses: list[int] = []
    straight = weights(fit(tmp_path / "straight", {"callbacks": [PressesCtrlC()]}))
    presses.append(1)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "stopped", {"callbacks": [PressesCtrlC()]}, schedule=SaveSchedule())
    assert (record(tmp_path / "stopped").phase, record(tmp_path / "stopped").step) == (phase, step)
    assert weights(fit(tmp_path / "stopped", {"callbacks": [PressesCtrlC()]})) == straight


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
        r"callback\.EarlyStopping\.patience: 5 -> 6",
    ),
    "a callback less": (
        {"callbacks": [History()]},
        {},
        r"callback\.History: fitting:History -> \(absent\)",
    ),
    "batch size": ({}, {"batch_size": 4}, "data global_batch_size: 8 -> 4"),
    "the evaluation's data": ({}, {"eval_data": Points(21, 1, 0.0)}, "valid data length: 20 -> 21"),
    "accumulation": ({}, {"accumulate_grad_batches": 2}, "fit accumulate_grad_batches: 1 -> 2"),
    "iterations": ({"num_iters": 20}, {"num_iters": 21}, "fit num_iters: 20 -> 21"),
    "learning rate": ({}, {"rate": 0.1}, "learning rate float.value: 0.05 -> 0.1"),
    "metric": (
        {},
        {"metrics": paddle.metric.Accuracy((1, 2), name="acc")},
        r"metric\.Accuracy\.topk: \(1,\) -> \(1, 2\)",
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
    with pytest.raises(CheckpointError, match="overwrite=True"):
        fit(tmp_path, {}, resume="none")
    assert weights(fit(tmp_path, {}, resume="none", overwrite=True)) == ours
    assert [event["event"] for event in record(tmp_path).lineage] == ["start"]


REFUSED: dict[str, tuple[dict[str, Any], type, str]] = {
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
