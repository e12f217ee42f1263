"""What a run may carry beyond the plain loop: each does what it says, and each is exact across kills."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from forking import assert_exact_resume, run_life
from places import PROGRAMS

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
from options import grouped

from paddle_resume import Best, Divergence, StepOptions, Trainer, WeightAverage
from paddle_resume.checkpoint.reader import load
from paddle_resume.errors import CheckpointError, ConfigError, NonFiniteLossError, StateError
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

PROGRAM = str(PROGRAMS / "train_features.py")

# ---------------------------------------------------------------- the exactness matrix

ROWS = {
    # 16 batches of 16 in groups of 3 are 6 steps an epoch, of which the last has one batch.
    "accumulated gradients": (["--accumulate", "3"], [Kill("step", 4), Kill("step", 9), Kill("save", 2, 6)]),
    "an average of the weights": (["--ema", "0.9"], [Kill("step", 4), Kill("step", 11), Kill("evaluate", 9, 1)]),
    "evaluation by steps": (["--evaluate-every", "5"], [Kill("step", 4), Kill("evaluate", 6, 2), Kill("step", 11)]),
    "the best checkpoint": (
        ["--best", "--final", "best", "--evaluate-every", "2", "--ema", "0.8"],
        [Kill("step", 5), Kill("save", 3, 6), Kill("step", 11)],
    ),
    "early stopping": (
        ["--patience", "1", "--evaluate-every", "2", "--rate", "explosion", "--on-nan", "skip"],
        [Kill("step", 5), Kill("evaluate", 5, 1)],
    ),
    "a rate that falls on a plateau": (
        ["--rate", "plateau", "--evaluate-every", "2"],
        [Kill("step", 4), Kill("evaluate", 6, 2), Kill("step", 11)],
    ),
    "a rate that steps by epoch": (["--rate", "epochs", "--interval", "epoch"], [Kill("step", 4), Kill("step", 11)]),
    # Steps 4 and 8, which hold the bad sample, are the ones left out.
    "updates that are left out": (["--bad-sample", "--on-nan", "skip"], [Kill("step", 5), Kill("step", 11)]),
    "a rollback": (["--rate", "explosion", "--on-nan", "rollback"], [Kill("step", 4), Kill("step", 8), Kill("epoch")]),
    "mixed precision": (["--amp", "O1"], [Kill("step", 4), Kill("step", 11)]),
}


# The row of the best checkpoint has an average and evaluates by steps too; on a CPU mixed precision does nothing.
AGAIN = (
    "a rate that steps by epoch",
    "an average of the weights",
    "evaluation by steps",
    "early stopping",
    "mixed precision",
)


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.full if row in AGAIN else ()) for row in ROWS])
def test_a_killed_run_ends_as_if_untouched(row: str, tmp_path: Path) -> None:
    options, kills = ROWS[row]
    assert_exact_resume([PROGRAM, *options], tmp_path, kills)


# What the proof must say when the restore of one owner is left out, and with which options its state matters.
CONTROLS = {
    "ema": (["--ema", "0.9"], 5, "tensor hidden.weight of .pdema differs"),
    "ema.progress": (["--ema", "0.9"], 5, "ema.progress.updates"),
    "best": (["--best", "--mode", "max", "--evaluate-every", "2"], 5, "best."),
    "divergence": (["--rate", "explosion", "--on-nan", "rollback"], 10, "divergence.rollbacks"),
    "scheduler": (["--rate", "plateau", "--evaluate-every", "2"], 5, "scheduler.state."),
}


@pytest.mark.parametrize(
    "owner", [pytest.param(o, marks=pytest.mark.full if o in ("ema.progress", "best") else ()) for o in CONTROLS]
)
def test_the_proof_fails_and_names_it_when_an_owner_is_not_restored(owner: str, tmp_path: Path) -> None:
    options, step, told = CONTROLS[owner]
    options = [*options, "--inline"]  # A save that is still under way behind training would die with it.
    report = tmp_path / "report"
    assert run_life([PROGRAM, *options], tmp_path / "straight", Plan(str(report)), timeout=300)
    assert not run_life([PROGRAM, *options], tmp_path / "killed", Plan(str(report), Kill("step", step)), timeout=300)
    with contextlib.suppress(RuntimeError):  # What was forgotten may be what would have kept it from diverging.
        run_life([PROGRAM, *options], tmp_path / "killed", Plan(str(report), None, [owner]), timeout=300)
    assert report.read_text().startswith(f"after the restore, {told}")
    assert first_differences(tmp_path / "straight", tmp_path / "killed")


# ---------------------------------------------------------------- what each of them does


class Points(paddle.io.Dataset):
    """`count` points of eight numbers, labelled by whether their sum is large; some may be NaN."""

    def __init__(self, count: int = 40, bad: tuple[int, ...] = ()) -> None:
        random = np.random.default_rng(0)
        self.x = random.random((count, 8), np.float32)
        self.y = (self.x.sum(axis=1, keepdims=True) > 4).astype(np.int64)
        self.x[list(bad)] = np.nan

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[index], self.y[index]

    def __len__(self) -> int:
        return len(self.x)


def trainer(rate: object = 0.1, kind: type[Trainer] = Trainer, **options: object) -> Trainer:
    paddle_resume.seed_everything(3)
    model = paddle.nn.Sequential(paddle.nn.Linear(8, 16), paddle.nn.Tanh(), paddle.nn.Linear(16, 2))
    optimizer = paddle.optimizer.Momentum(rate, parameters=model.parameters())
    made = kind(model, optimizer, loss=paddle.nn.CrossEntropyLoss(), **grouped(**{"background": False, **options}))
    made.told = []  # type: ignore[attr-defined]
    made.tell = made.told.append  # type: ignore[attr-defined, method-assign]
    return made


def weights(trained: Trainer) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in trained.model.state_dict().items()}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_accumulated_gradients_are_those_of_the_large_batch_also_of_a_short_last_group() -> None:
    large, small = trainer(name="large"), trainer(name="small", accumulate_steps=4)
    # 40 samples: steps of 16, 16 and 8; and of 4 batches of 4, 4 of 4, and 2 of 4.
    large.train(Points(), epochs=2, global_batch_size=16)
    small.train(Points(), epochs=2, global_batch_size=4)
    assert large.step == small.step == 6
    for name, array in weights(large).items():
        np.testing.assert_allclose(weights(small)[name], array, rtol=2e-5, atol=1e-6)
    uneven = trainer(name="uneven", accumulate_steps=3)
    uneven.train(Points(), epochs=2, global_batch_size=7)  # 7 + 7 + 7, then 7 + 7 + 5
    even = trainer(name="even")
    even.train(Points(), epochs=2, global_batch_size=21)
    for name, array in weights(even).items():
        np.testing.assert_allclose(weights(uneven)[name], array, rtol=2e-5, atol=1e-6)


def test_accumulation_warns_of_batch_norm_and_is_compared_on_a_resume() -> None:
    model = paddle.nn.Sequential(paddle.nn.Linear(8, 4), paddle.nn.BatchNorm1D(4), paddle.nn.Linear(4, 2))
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    made = Trainer(model, optimizer, loss=paddle.nn.CrossEntropyLoss(), step=StepOptions(accumulate_steps=2))
    told: list[str] = []
    made.tell = told.append  # type: ignore[method-assign]
    made.train(Points(), global_batch_size=8)
    assert any("batch norms) takes its statistics from each batch alone" in line for line in told)
    trainer().train(Points(), global_batch_size=8, resume="none", overwrite=True)
    with pytest.raises(paddle_resume.errors.InexactResumeError, match="accumulate_steps: 1 -> 2"):
        trainer(accumulate_steps=2).train(Points(), epochs=2, global_batch_size=8)


def test_an_overridden_step_cannot_accumulate_or_skip() -> None:
    class Own(Trainer):
        def train_step(self, batch: list) -> paddle.Tensor:
            raise AssertionError

    model = paddle.nn.Linear(8, 2)
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    for options in ({"accumulate_steps": 2}, {"on_nan": "skip"}):
        with pytest.raises(StateError, match=r"Own\.train_step makes its updates itself"):
            Own(model, optimizer, **grouped(**options))


def test_the_average_follows_its_formula_and_is_what_is_evaluated_and_written(tmp_path: Path) -> None:
    followed: list[dict[str, np.ndarray]] = []

    class Watch(paddle_resume.Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            followed.append(weights(trainer))

    average = WeightAverage(0.5)
    made = trainer(ema=average, callbacks=[Watch()], model_path=tmp_path / "m.pdparams")
    expected = weights(made)
    results = made.train(Points(), Points(), epochs=1, global_batch_size=8)
    for t, now in enumerate(followed):
        decay = np.float32(1 - min(0.5, (1 + t) / (10 + t)))
        expected = {name: a + (now[name] - a) * decay for name, a in expected.items()}
    stored = load(tmp_path / "checkpoint" / "model_epoch0").tensors
    written = paddle.load(str(tmp_path / "m.pdparams"))
    for name, array in expected.items():
        np.testing.assert_allclose(stored[".pdema"][name], array, rtol=1e-6, atol=1e-7)
        assert written[name].numpy().tobytes() == stored[".pdema"][name].tobytes()
        assert weights(made)[name].tobytes() == followed[-1][name].tobytes() == stored[".pdparams"][name].tobytes()
    with average.in_place():
        assert made.evaluate(Points(), batch_size=8)["loss"] == results["valid/loss"]
    average.evaluate = False
    assert made.evaluate(Points(), batch_size=8)["loss"] != results["valid/loss"]
    with pytest.raises(ConfigError, match=r"WeightAverage\(decay=1\.5\): expected a number from 0 to below 1"):
        WeightAverage(1.5)


def test_the_best_checkpoint_is_that_of_the_best_evaluation_and_outlives_retention(tmp_path: Path) -> None:
    best = Best("valid/loss", mode="max", final="best")  # of a falling loss, the first evaluation
    made = trainer(
        best=best, evaluate_every=2, keep=1, every_epochs=None, every_steps=1, model_path=tmp_path / "m.pdparams"
    )
    made.train(Points(), Points(), epochs=4, global_batch_size=8)
    assert best.step == 2 and made.step == 20
    kept = load(tmp_path / "checkpoint" / "model_best")
    assert kept.record.step == 2
    assert paddle.load("m.pdparams")["0.weight"].numpy().tobytes() == kept.tensors[".pdparams"]["0.weight"].tobytes()
    assert kept.tensors[".pdparams"]["0.weight"].tobytes() != weights(made)["0.weight"].tobytes()
    assert sorted(p.stem for p in (tmp_path / "checkpoint").glob("*.pdstates")) == ["model_best", "model_step20"]
    (tmp_path / "checkpoint" / "model_best.pdparams").write_bytes(b"rot")
    (tmp_path / "m.pdparams").unlink()
    again = trainer(best=best, evaluate_every=2, model_path=tmp_path / "m.pdparams")
    with pytest.raises(CheckpointError, match="The best checkpoint .* cannot be read"):
        again.train(Points(), Points(), epochs=4, global_batch_size=8)
    assert trainer()._parts.engine.start_over(overwrite=True) == 2
    assert not list((tmp_path / "checkpoint").glob("model_*"))


def test_resuming_from_the_best_goes_on_from_its_evaluation(tmp_path: Path) -> None:
    options = {"best": Best("valid/loss", mode="max"), "evaluate_every": 2}
    straight = trainer(**options)
    straight.train(Points(), Points(), epochs=2, global_batch_size=8)
    again = trainer(best=Best("valid/loss", mode="max"), evaluate_every=2)
    again.train(Points(), Points(), epochs=2, global_batch_size=8, resume="checkpoint/model_best")
    assert again.restored is not None and again.restored.step == 2
    assert all(array.tobytes() == weights(again)[name].tobytes() for name, array in weights(straight).items())


def test_training_stops_early_once_patience_has_run_out() -> None:
    best = Best("valid/loss", mode="max", patience=3)
    made = trainer(best=best, evaluate_every=2)
    made.train(Points(), Points(), epochs=9, global_batch_size=8)
    assert (made.step, made.phase, best.waited) == (8, "done", 3)
    assert made.told[-1].startswith("Stopping early: valid/loss has not been better than 0.")  # type: ignore[attr-defined]
    with pytest.raises(
        ConfigError, match=r"best\.monitor: valid/x is none of what the evaluation gives; use valid/loss"
    ):
        Best("valid/x").consider({"valid/loss": 1.0}, 1)
    judge = Best("valid/acc", min_delta=0.1)
    assert [judge.consider({"valid/acc": v}, 0) for v in (float("nan"), 0.5, 0.55, 0.7)] == [False, True, False, True]
    assert Best("valid/loss").mode == "min" and Best("valid/acc").mode == "max"


def test_a_bad_batch_is_left_out_and_told_of_in_the_lineage(tmp_path: Path) -> None:
    made = trainer(on_nan="skip")
    made.train(Points(bad=(5, 6)), epochs=1, global_batch_size=8, shuffle=False)
    assert (made._parts.divergence.skipped, made.step) == (1, 5)
    assert all(np.isfinite(array).all() for array in weights(made).values())
    record = json.loads((tmp_path / "checkpoint" / "model_epoch0.pdstates").read_text())
    assert [e["step"] for e in record["lineage"] if e["event"] == "skip"] == [0]
    with pytest.raises(NonFiniteLossError):
        trainer(name="stop").train(Points(bad=(5, 6)), epochs=1, global_batch_size=8, shuffle=False)


def explosion() -> paddle.optimizer.lr.LRScheduler:
    return paddle.optimizer.lr.PiecewiseDecay([7], [0.1, 3e38])


def test_a_run_that_diverges_goes_back_and_on_with_a_lower_rate(tmp_path: Path) -> None:
    guard = Divergence("rollback", lr_factor=1e-39, max_rollbacks=2)
    made = trainer(explosion(), on_nan=guard, every_steps=3)
    made.train(Points(), epochs=2, global_batch_size=8)
    assert guard.rollbacks == 1 and made.step == 10
    assert all(np.isfinite(array).all() for array in weights(made).values())
    record = json.loads((tmp_path / "checkpoint" / "model_epoch1.pdstates").read_text())
    events = [(e["to"], e["lr_scale"]) for e in record["lineage"] if e["event"] == "rollback"]
    assert events == [("model_step6", 1e-39)]
    assert "Went back to checkpoint/model_step6, step 6" in "".join(made.told)  # type: ignore[attr-defined]


def test_a_checkpoint_that_was_refused_is_not_one_to_go_back_to() -> None:
    class Steep(Trainer):
        def compute_loss(self, batch: list) -> tuple[paddle.Tensor, paddle.Tensor]:
            loss, output = super().compute_loss(batch)
            return loss * 1e3, output

    guard = Divergence("rollback", lr_factor=1e-42)
    # The update of step 7 ruins the weights, which the save right after it finds, before any loss tells.
    made = trainer(explosion(), on_nan=guard, every_steps=1, kind=Steep)
    made.train(Points(), epochs=2, global_batch_size=8)
    assert "The weights 0.weight became NaN or infinite by step 7" in "".join(made.told)  # type: ignore[attr-defined]
    assert "Went back to checkpoint/model_step7" in "".join(made.told)  # type: ignore[attr-defined]
    assert (guard.rollbacks, made.step) == (1, 10)


def test_rollbacks_end_after_the_last_that_is_allowed_and_need_a_checkpoint() -> None:
    made = trainer(explosion(), name="a", on_nan=Divergence("rollback", lr_factor=0.9, max_rollbacks=2))
    with pytest.raises(NonFiniteLossError, match="last good checkpoint is checkpoint/a_epoch0"):
        made.train(Points(), epochs=2, global_batch_size=8)
    assert made._parts.divergence.rollbacks == 2
    with pytest.raises(NonFiniteLossError, match="nothing was saved yet"):
        trainer(name="b", on_nan="rollback").train(Points(bad=tuple(range(40))), epochs=1, global_batch_size=8)


def test_an_interruption_does_not_decide_where_a_rollback_goes_back_to(tmp_path: Path) -> None:
    def guarded(name: str) -> Trainer:
        return trainer(
            explosion(),
            name=name,
            on_nan=Divergence("rollback", lr_factor=1e-39),
            every_steps=5,
            keep=1,
        )

    straight = guarded("straight")
    straight.train(Points(), epochs=2, global_batch_size=8)
    for stop in (6, 7):  # Each stop saves a checkpoint of its own, and only one step checkpoint is kept.
        guarded("stopped").train(Points(), epochs=2, max_steps=stop, global_batch_size=8)
    stopped = guarded("stopped")
    stopped.train(Points(), epochs=2, global_batch_size=8)
    assert stopped._parts.divergence.rollbacks == straight._parts.divergence.rollbacks == 1
    assert all(array.tobytes() == weights(stopped)[name].tobytes() for name, array in weights(straight).items())


def test_a_plateau_follows_its_metric_and_says_if_there_is_none() -> None:
    plateau = paddle.optimizer.lr.ReduceOnPlateau(0.1, factor=0.5, patience=0, threshold=10.0)
    made = trainer(plateau)
    made.train(Points(), Points(), epochs=3, global_batch_size=8)
    assert plateau() == 0.025  # The first evaluation is the best; each of the two after it halves the rate.
    with pytest.raises(ConfigError, match=r"optimizer\.lr\.metric: valid/acc is none of .* gives: valid/loss"):
        trainer(
            paddle.optimizer.lr.ReduceOnPlateau(0.1), name="x", lr_metric="valid/acc"
        ).train(Points(), Points(), global_batch_size=8)  # fmt: skip


def test_when_a_schedule_steps_is_compared_on_a_resume() -> None:
    def scheduled(**options: object) -> Trainer:
        return trainer(paddle.optimizer.lr.ExponentialDecay(0.1, 0.9), **options)

    scheduled().train(Points(), global_batch_size=8)
    with pytest.raises(paddle_resume.errors.InexactResumeError, match="learning rate interval: step -> epoch"):
        scheduled(lr_interval="epoch").train(Points(), epochs=2, global_batch_size=8)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"precision": paddle_resume.Precision("O1")}, "precision level: None -> O1"),
        ({"ema": WeightAverage(0.9)}, {"ema": WeightAverage(0.8)}, r"ema decay: 0\.9 -> 0\.8"),
        ({"ema": WeightAverage(0.9)}, {}, r"file \.pdema: saved -> nobody here owns it"),
        ({"best": Best("valid/loss")}, {"best": Best("valid/loss", patience=2)}, r"Best\(patience=\): None -> 2"),
        ({"on_nan": "skip"}, {}, "on_nan policy: skip -> stop"),
    ],
)
def test_what_alters_the_course_is_compared_on_a_resume(before: dict, after: dict, told: str) -> None:
    trainer(**before).train(Points(), Points(), global_batch_size=8)
    with pytest.raises(paddle_resume.errors.InexactResumeError, match=told):
        trainer(**after).train(Points(), Points(), epochs=2, global_batch_size=8)


def test_an_evaluation_leaves_each_layer_in_the_mode_it_was_in() -> None:
    made = trainer()
    made.model.train()
    made.model[1].eval()
    made.evaluate(Points())
    assert [layer.training for layer in made.model.sublayers()] == [True, False, True] and made.model.training


def test_mixed_precision_says_that_a_cpu_has_none() -> None:
    made = trainer(precision=paddle_resume.Precision("O1"))
    made.train(Points(), global_batch_size=8)
    plain = trainer(name="plain")
    plain.train(Points(), global_batch_size=8)
    assert "on a CPU Paddle computes everything in float32" in "".join(made.told)  # type: ignore[attr-defined]
    assert all(array.tobytes() == weights(plain)[name].tobytes() for name, array in weights(made).items())
