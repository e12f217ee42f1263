"""Learning rates: every schedule goes on exactly, warm-ups, what configs may say, pictures, and changes on a resume."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from forking import assert_exact_resume, run_life
from paddle.optimizer import lr

from paddle_resume.builders.lr_schedule import Rate, build_rate, check_rate, rates_of_steps
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.reader import load
from paddle_resume.cli import main
from paddle_resume.config import load_config
from paddle_resume.config.allowed_changes import AllowedChanges
from paddle_resume.config.config_state import ConfigState
from paddle_resume.config.trajectory import config_difference
from paddle_resume.differences import ABSENT, ConfigScope, Difference, reported_by
from paddle_resume.errors import ConfigError, StateError
from paddle_resume.lr.stepper import EPOCH, LR_SCOPE, STEP, LRStepper
from paddle_resume.lr.warmup import Warmup
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.pictures.lr_preview import _downsampled, preview_rates
from paddle_resume.stateful import Owners
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan
from paddle_resume.training.run_length import RunLength

SCHEDULES: dict[str, Callable[[], Any]] = {
    "NoamDecay": lambda: lr.NoamDecay(64, 20),
    "PiecewiseDecay": lambda: lr.PiecewiseDecay([9, 30, 50], [0.5, 0.3, 0.2, 0.1]),
    "NaturalExpDecay": lambda: lr.NaturalExpDecay(0.5, 0.1),
    "InverseTimeDecay": lambda: lr.InverseTimeDecay(0.5, 0.1),
    "PolynomialDecay": lambda: lr.PolynomialDecay(0.5, 13, end_lr=0.01, power=0.9, cycle=True),
    "LinearWarmup": lambda: lr.LinearWarmup(0.5, 40, 0.0, 0.5),
    "ExponentialDecay": lambda: lr.ExponentialDecay(0.5, 0.95),
    "MultiStepDecay": lambda: lr.MultiStepDecay(0.5, [8, 30, 50]),
    "StepDecay": lambda: lr.StepDecay(0.5, 7),
    "LambdaDecay": lambda: lr.LambdaDecay(0.5, lambda step: 0.95**step),
    "ReduceOnPlateau": lambda: lr.ReduceOnPlateau(0.5, patience=1, factor=0.7, cooldown=2),
    "CosineAnnealingDecay": lambda: lr.CosineAnnealingDecay(0.5, 23),
    "MultiplicativeDecay": lambda: lr.MultiplicativeDecay(0.5, lambda step: 0.95),
    "OneCycleLR": lambda: lr.OneCycleLR(0.5, total_steps=120),
    "CyclicLR": lambda: lr.CyclicLR(0.1, 0.5, step_size_up=11, mode="exp_range", exp_gamma=0.99),
    "LinearLR": lambda: lr.LinearLR(0.5, total_steps=70),
    "CosineAnnealingWarmRestarts": lambda: lr.CosineAnnealingWarmRestarts(0.5, T_0=3, T_mult=3),
}
WRAPPED: dict[str, Callable[[], Any]] = {
    "LinearWarmup of CosineAnnealingDecay": lambda: lr.LinearWarmup(lr.CosineAnnealingDecay(0.5, 23), 10, 0.0, 0.5),
    "LinearWarmup of CosineAnnealingWarmRestarts": lambda: lr.LinearWarmup(
        SCHEDULES["CosineAnnealingWarmRestarts"](), 6, 0.0, 0.5
    ),
    "Warmup of a number": lambda: Warmup(0.5, 40),
    "Warmup of ReduceOnPlateau": lambda: Warmup(SCHEDULES["ReduceOnPlateau"](), 9, interval="epoch"),
    "Warmup of a schedule by epochs": lambda: Warmup(lr.StepDecay(0.5, 2), 9, 0.1, interval="epoch"),
    **{
        f"Warmup of {name}": lambda name=name: Warmup(SCHEDULES[name](), 12, 0.001)
        for name in SCHEDULES
        if name != "ReduceOnPlateau"
    },
}
EVERY = {**SCHEDULES, **WRAPPED}
BY_EPOCHS = ("Warmup of a schedule by epochs",)


def test_no_schedule_of_paddle_is_left_out() -> None:
    assert set(SCHEDULES) == set(lr.__all__) - {"LRScheduler"}


class Driven:
    """An optimizer whose schedule moves as in a run, with an epoch and an evaluation after every third step."""

    def __init__(self, name: str) -> None:
        self.model = paddle.nn.Linear(1, 1)
        self.scheduler = EVERY[name]()
        self.optimizer = paddle.optimizer.SGD(self.scheduler, parameters=self.model.parameters())
        self.owners = Owners(**paddle_owners(self.model, {"": self.optimizer}))
        self._rates = LRStepper({"": self.optimizer}, EPOCH if name in BY_EPOCHS else STEP)

    def go(self, start: int, end: int) -> bytes:
        """Make the steps from `start` to `end`; the bits of their rates."""
        rates = []
        for step in range(start, end):
            rates.append(self.optimizer.get_lr())
            self._rates.after(STEP)
            if step % 3 == 2:
                self._rates.after(EPOCH)
                self._rates.after_evaluation({"valid/loss": random.Random(step).choice([0.5, 1.0, 1.5])})
        return np.array(rates, "float64").tobytes()


@pytest.mark.parametrize("name", EVERY)
def test_every_schedule_goes_on_with_the_same_bits_from_a_random_step(name: str, tmp_path: Path) -> None:
    stop = random.Random(name).randrange(4, 40)
    straight = Driven(name)
    straight.go(0, stop)
    checkpointer = CheckpointEngine(tmp_path, "run", background=False)
    checkpointer.save(stop, straight.owners)
    checkpointer.close()
    expected = straight.go(stop, stop + 50)

    def restored(forget: str = "") -> bytes:
        again = Driven(name)
        owners = Owners(**{label: owner for label, owner in again.owners.items() if label != forget})
        reader = CheckpointEngine(tmp_path, "run", background=False)
        reader.restore(owners, allow_inexact=bool(forget))
        reader.close()
        return again.go(stop, stop + 50)

    assert restored() == expected
    assert restored(forget="scheduler") != expected


# ---------------------------------------------------------------- the warm-up


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "ReduceOnPlateau"])
def test_after_its_warm_up_a_schedule_gives_the_bits_that_it_gives_alone(name: str) -> None:
    alone, warmed = SCHEDULES[name](), Warmup(SCHEDULES[name](), 5, 0.001)
    first = alone()
    for step in range(5):
        assert warmed() == 0.001 + (first - 0.001) * step / 5
        warmed.step()
    for _ in range(100):
        assert warmed() == alone()
        alone.step()
        warmed.step()


def test_the_warm_up_of_a_plateau_counts_updates_and_no_evaluation_before_its_end() -> None:
    scheduler = Warmup(lr.ReduceOnPlateau(0.4, patience=0, factor=0.5), 4, interval="epoch")
    rates = LRStepper({"": paddle.optimizer.SGD(scheduler, parameters=paddle.nn.Linear(1, 1).parameters())})
    seen = []
    for step in range(9):
        seen.append(scheduler())
        rates.after(STEP)
        if step % 2:
            rates.after_evaluation({"valid/loss": 1.0})
    assert seen == [0.0, 0.1, 0.2, 0.4 * 3 / 4, 0.4, 0.4, 0.4, 0.4, 0.2]


def test_a_warm_up_by_steps_goes_before_a_schedule_by_epochs() -> None:
    warmed = Rate(Warmup(lr.StepDecay(0.4, 1, 0.5), 4, interval="epoch"), "epoch")
    # Epochs of 3: the first lies in the warm-up, the second has two steps at the schedule's first rate.
    found = list(rates_of_steps(warmed, 12, range(3, 13, 3)))
    assert found == [0.0, 0.1, 0.2, 0.4 * 3 / 4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Warmup(0.1, 0), "steps is a whole number of 1 or more, found 0"),
        (lambda: Warmup(0.1, 5, -0.1), "start_lr is 0 or more, found -0.1"),
        (lambda: Warmup(0.1, 5, interval="batch"), "interval is step or epoch, found 'batch'"),
        (lambda: Warmup(lr.ReduceOnPlateau(0.1), 5), "a ReduceOnPlateau steps on a metric"),
        (lambda: Warmup(0.1, 5).step(3), "cannot jump to an epoch"),
    ],
)
def test_a_warm_up_refuses_what_it_cannot_do(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


# ---------------------------------------------------------------- configs

CONFIG = """
run: {{name: tiny, save_dir: ck, log_dir: log}}
model: {{name: MLP, hidden: 8}}
data: {{name: mnist, root: {root}, global_batch_size: 10}}
optimizer:
  name: Adam
  lr: {{name: CosineAnnealingDecay, learning_rate: 0.01, T_max: auto, warmup: {{steps: 3}}}}
trainer: {{epochs: 2, log_every: 1}}
checkpoint: {{every_steps: 2, keep: 9}}
"""
TAGS = ["valid/loss", "valid/acc"]


@pytest.fixture
def here(tmp_path: Path, tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with c.yaml: a run of two epochs of five steps."""
    (tmp_path / "c.yaml").write_text(CONFIG.format(root=tiny_mnist))
    monkeypatch.chdir(tmp_path)
    return tmp_path


THREE_EPOCHS = RunLength(epochs=3, max_steps=None, batches_per_epoch=10)


def rate_of(schedule: str, length: RunLength = THREE_EPOCHS) -> Rate:
    text = f"run: {{name: a}}\nmodel: {{name: MLP}}\noptimizer: {{lr: {schedule}}}\n"
    Path("rate.yaml").write_text(text)
    config = load_config("rate.yaml")
    check_rate(config)
    return build_rate(config, length, TAGS)


@pytest.mark.parametrize(
    ("schedule", "counted"),
    [
        ("{name: PolynomialDecay, learning_rate: 1, decay_steps: auto}", {"optimizer.lr.decay_steps": 30}),
        ("{name: CosineAnnealingDecay, learning_rate: 1, T_max: auto, interval: epoch}", {"optimizer.lr.T_max": 3}),
        (
            "{name: OneCycleLR, max_learning_rate: 1, total_steps: auto, warmup: {steps: 4}}",
            {"optimizer.lr.total_steps": 26},
        ),
        (
            "{name: LinearLR, learning_rate: 1, total_steps: auto, warmup: {epochs: 1.5}}",
            {"optimizer.lr.total_steps": 15},
        ),
        (
            "{name: LinearLR, learning_rate: 1, total_steps: auto, interval: epoch, warmup: {epochs: 1}}",
            {"optimizer.lr.total_steps": 2},
        ),
        (
            "{name: LinearWarmup, warmup_steps: 5, start_lr: 0, end_lr: 1, "
            "learning_rate: {name: CosineAnnealingDecay, learning_rate: 1, T_max: auto}}",
            {"optimizer.lr.learning_rate.T_max": 25},
        ),
    ],
)
def test_auto_counts_what_the_run_leaves_to_the_schedule(schedule: str, counted: dict[str, int], here: Path) -> None:
    rate = rate_of(schedule)
    assert rate.counted == counted
    resolved: Any = rate.resolve(load_config("rate.yaml"))
    for key, number in counted.items():
        for part in key.split("."):
            resolved = resolved[part]
        assert resolved == number


def test_a_run_that_ends_early_counts_the_epochs_that_it_begins(here: Path) -> None:
    rate = rate_of("{name: StepDecay, learning_rate: 1, step_size: auto, interval: epoch}", RunLength(3, 11, 10))
    assert rate.counted == {"optimizer.lr.step_size": 2}


def test_a_function_is_named_by_its_import_path(here: Path) -> None:
    Path("my_rates.py").write_text("def half(step):\n    return 0.5 ** step\n")
    rate = rate_of("{name: LambdaDecay, learning_rate: 1.0, lr_lambda: 'my_rates:half'}")
    assert list(rates_of_steps(rate, 4, ())) == [1.0, 0.5, 0.25, 0.125]


def test_a_schedule_may_be_a_warm_up_of_a_number(here: Path) -> None:
    rate = rate_of("{name: Warmup, learning_rate: 0.4, steps: 4}")
    assert list(rates_of_steps(rate, 6, ())) == [0.0, 0.1, 0.2, 0.4 * 3 / 4, 0.4, 0.4]


@pytest.mark.parametrize(
    ("schedule", "parts"),
    [
        ("{name: StepDecay, learning_rate: auto, step_size: 3}", ("lr.learning_rate: auto", "counts with step_size")),
        ("{name: NoamDecay, d_model: auto, warmup_steps: 5}", ("lr.d_model: auto", "counts with warmup_steps")),
        ("{name: StepDecay, learning_rate: 1, step_size: 3, metric: valid/loss}", ("StepDecay watches no metric",)),
        ("{name: ReduceOnPlateau, learning_rate: 1, metric: valid/acc}", ("lr.mode is missing", "mode: max")),
        (
            "{name: ReduceOnPlateau, learning_rate: 1, metric: valid/f1, mode: max}",
            ("lr.metric: valid/f1 is none of", "valid/loss, valid/acc"),
        ),
        (
            "{name: LinearWarmup, warmup_steps: 5, start_lr: 0, end_lr: 1, "
            "learning_rate: {name: ReduceOnPlateau, learning_rate: 1}}",
            ("LinearWarmup cannot step a ReduceOnPlateau", "optimizer.lr.warmup"),
        ),
        (
            "{name: StepDecay, step_size: 3, learning_rate: {name: StepDecay, learning_rate: 1, step_size: 2}}",
            ("StepDecay takes a number here",),
        ),
        (
            "{name: LinearWarmup, learning_rate: 1, warmup_steps: 5, start_lr: 0, end_lr: 1, warmup: {steps: 3}}",
            ("LinearWarmup is a warm-up itself",),
        ),
        (
            "{name: LinearWarmup, warmup_steps: 5, start_lr: 0, end_lr: 1, learning_rate: {name: StepDeca}}",
            ("optimizer.lr.learning_rate.name: StepDeca is not known", "did you mean StepDecay?"),
        ),
        ("{name: LambdaDecay, learning_rate: 1, lr_lambda: half}", ("lr_lambda is half", "my_module:function")),
        ("{name: LambdaDecay, learning_rate: 1, lr_lambda: 'json:nothing'}", ("json is a part of Python",)),
        ("{name: LambdaDecay, learning_rate: 1, lr_lambda: 'sys:version'}", ("sys is a part of Python",)),
        ("{name: StepDecay, learning_rate: 1, step_size: 3, warmup: {steps: 30}}", ("leaves nothing of the run",)),
        ("{name: StepDecay, learning_rate: 1, step_size: 3, warmup: {}}", ("expected one of steps and epochs",)),
        ("{name: StepDecay, learning_rate: 1, step_size: 3, interval: day}", ("expected 'step' or 'epoch'",)),
    ],
)
def test_what_a_rate_cannot_be_is_said_in_one_line(schedule: str, parts: tuple[str, ...], here: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        rate_of(schedule)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_steps_that_nobody_knows_cannot_be_counted(here: Path) -> None:
    with pytest.raises(ConfigError, match="auto needs to know how many steps"):
        rate_of("{name: LinearLR, learning_rate: 1, total_steps: auto}", RunLength(3, None, None))
    with pytest.raises(ConfigError, match=r"warmup\.epochs: the length of mnist is not known"):
        rate_of("{name: StepDecay, learning_rate: 1, step_size: 3, warmup: {epochs: 1}}", RunLength(3, 30, None))


def test_a_schedule_that_ends_before_the_run_does_is_told_before_it_begins(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"total_steps is 5, but OneCycleLR has 30 steps to go"):
        rate_of("{name: OneCycleLR, max_learning_rate: 1, total_steps: 5}")
    with pytest.raises(ConfigError, match="OneCycleLR does not go on to position 6: ValueError: Tried to step 6 times"):
        list(rates_of_steps(Rate(lr.OneCycleLR(1.0, total_steps=5)), 30, ()))


# ---------------------------------------------------------------- kills of real processes

TRAIN = ["-m", "paddle_resume", "train", "-q", "-c", "{folder}/../c.yaml"]


def test_a_warm_up_before_a_cosine_goes_on_exactly_when_killed_in_either(here: Path) -> None:
    assert_exact_resume(TRAIN, here, [Kill("step", 2), Kill("step", 7)])


def test_a_plateau_goes_on_exactly_when_killed_in_the_evaluation_and_before_it_is_saved(
    here: Path, tiny_mnist: Path
) -> None:
    text = CONFIG.format(root=tiny_mnist)
    schedule = "{name: ReduceOnPlateau, learning_rate: 0.01, patience: 0, threshold: 0.9, warmup: {steps: 3}}"
    begin, end = text.index("{name: Cosine"), text.index("\ntrainer:")
    (here / "c.yaml").write_text(text[:begin] + schedule + text[end:])
    # Armed by step 5, which only the evaluation names: the next save is the one that holds what it has moved.
    kills = [Kill("evaluate", after=5), Kill("save", after=5, count=1)]
    assert_exact_resume([*TRAIN, "-o", "trainer.epochs=3"], here, kills)
    rates = [entry["train/lr"] for entry in records(here / "straight") if "train/lr" in entry]
    assert rates[5] == 0.01 and rates[10] == 0.001  # It did reduce: the first evaluation is the best one could be.


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log/tiny/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# ---------------------------------------------------------------- changes on a resume


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory, tiny_mnist: Path) -> Path:
    """A folder with c.yaml and a run that has made 7 of its 10 steps, and was then interrupted."""
    folder = tmp_path_factory.mktemp("half_way")
    (folder / "c.yaml").write_text(CONFIG.format(root=tiny_mnist))
    plan = Plan(str(folder / "report"), Kill("step", 7))
    # Saved inline: a save still under way behind training would die with it, and step 6 has to be there.
    assert not run_life(train(folder, "-o", "checkpoint.background=false"), folder, plan, timeout=120)
    return folder


def train(folder: Path, *options: str) -> list[str]:
    return ["-m", "paddle_resume", "train", "-q", "-c", str(folder / "c.yaml"), *options]


def run(*options: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["train", "-c", "c.yaml", "-q", *options])
    return int(end.value.code or 0)


@pytest.fixture
def again(half_way: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that run, as the working folder."""
    folder = tmp_path / "again"
    shutil.copytree(half_way, folder)
    monkeypatch.chdir(folder)
    return folder


LOWER = ("-o", "optimizer.lr=0.0005")


def test_a_changed_rate_is_refused_without_leave_and_only_what_was_named_is_given_leave(
    again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in Path("ck").iterdir())
    assert run(*LOWER) == 2
    assert capsys.readouterr().err.endswith("-o optimizer.lr=0.0005 --allow-change\n")
    text = Path("c.yaml").read_text().replace("hidden: 8", "hidden: 8, dropout: 0.5")
    Path("c.yaml").write_text(text)
    assert run(*LOWER, "--allow-change") == 2
    message = capsys.readouterr().err
    assert (
        "these changed:\n  model.dropout: (absent) -> 0.5\nLeave was given to these:\n  optimizer.lr: {name" in message
    )
    assert "does not fit another" in message and "-o run.name=tiny_2" in message.splitlines()[-1]
    assert run("--allow-change") == 2
    assert "--allow-change allows the keys given with -o" in capsys.readouterr().err
    assert sorted(path.name for path in Path("ck").iterdir()) == before


def test_a_change_holds_from_there_on_is_in_the_lineage_and_needs_no_leave_twice(again: Path) -> None:
    assert run(*LOWER, "--allow-change", "-o", "trainer.max_steps=8") == 0
    kept = load(Path("ck/tiny_step6")).record  # Saved before the first step with the new rate.
    change = next(event for event in kept.lineage if event["event"] == "change")
    assert change["step"] == 6 and change["from"] == "tiny_step6"
    assert any(
        line.startswith("optimizer.lr: {name: Cosine") and line.endswith("-> 0.0005") for line in change["changes"]
    )
    assert kept.exact
    assert run(*LOWER) == 0
    rates = {entry["step"]: entry["train/lr"] for entry in records(again) if "train/lr" in entry}
    assert [rates[step] for step in (7, 8, 9, 10)] == [0.0005] * 4
    assert rates[6] > 0.005
    last = load(Path("ck/tiny_step10")).record
    assert last.exact and [event["event"] for event in last.lineage].count("change") == 1


LONGER = ("-o", "trainer.epochs=3")
LEAVE = {
    "another rate": (LOWER, ("--allow-change",)),
    **{f"longer, {way}": (LONGER, ("--lr-change", way)) for way in ("replan", "restart", "hold")},
}


@pytest.mark.parametrize("kind", LEAVE)
def test_a_run_with_a_change_goes_on_exactly_when_it_is_killed(kind: str, again: Path, tmp_path: Path) -> None:
    options, leave = LEAVE[kind]
    killed = tmp_path / "killed"
    shutil.copytree(again, killed)
    changed = train(again, *options, *leave)
    assert run_life(changed, again, Plan(str(tmp_path / "report")), timeout=120)
    assert not run_life(changed, killed, Plan(str(tmp_path / "report"), Kill("step", 9)), timeout=120)
    assert run_life(train(killed, *options), killed, Plan(str(tmp_path / "report-killed")), timeout=120)
    assert not (tmp_path / "report-killed").exists()
    assert first_differences(again, killed) == []


def test_a_longer_run_is_offered_three_ways_with_figures_and_each_is_another_run_that_tells_its_jump(
    again: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*LONGER) == 2
    message = capsys.readouterr().err
    found = dict(re.findall(r"--lr-change (\w+) .*?: the next has ([\d.e-]+)", message))
    assert list(found) == ["replan", "restart", "hold"] and len(set(found.values())) == 3
    assert message.splitlines()[-1].startswith("  paddle-resume train -c c.yaml -q -o trainer.epochs=3 --lr-change ")
    rates = {}
    for way, next_rate in found.items():
        folder = tmp_path / way
        shutil.copytree(again, folder)
        os.chdir(folder)
        assert run(*LONGER, "--lr-change", way) == 0
        told = capsys.readouterr().out
        assert f"in the last step, {next_rate} in the next ({way}: " in told
        rates[way] = [entry["train/lr"] for entry in records(folder) if "train/lr" in entry][6:]
        assert f"{rates[way][0]:.6g}" == next_rate
        noted = load(Path("ck/tiny_epoch2")).record.lineage
        assert [event["lr"]["way"] for event in noted if "lr" in event] == [way]
    assert len({tuple(each) for each in rates.values()}) == 3  # What a kill test compares could differ.
    assert len(set(rates["hold"][-5:])) == 1


NEW_SCHEDULES = {
    "other arguments": ["optimizer.lr.learning_rate=0.02"],
    "another warm-up": ["optimizer.lr.warmup.steps=5"],
    "another class": [
        "optimizer.lr.name=LinearLR",
        "optimizer.lr.learning_rate=0.01",
        "optimizer.lr.total_steps=auto",
    ],
    "by epochs": ["optimizer.lr.interval=epoch", "optimizer.lr.warmup=null"],
    "by epochs after a warm-up by steps": ["optimizer.lr.interval=epoch"],
    "more epochs, which auto counts": ["trainer.epochs=3"],
}


@pytest.mark.parametrize("kind", NEW_SCHEDULES)
def test_a_new_schedule_goes_on_where_it_would_be_if_it_had_been_there_from_the_start(kind: str, again: Path) -> None:
    options = [part for override in NEW_SCHEDULES[kind] for part in ("-o", override)]
    assert run(*options, "--allow-change") == 0
    expected = preview_rates(load_config("c.yaml", options[1::2])).rates
    rates = {entry["step"]: entry["train/lr"] for entry in records(again) if "train/lr" in entry}
    steps = range(6, len(expected))
    assert len(steps) >= 4
    assert [rates[step + 1] for step in steps] == [expected[step] for step in steps]


def test_from_a_number_to_a_schedule_and_on_to_a_plateau(here: Path) -> None:
    cosine = "optimizer.lr={name: CosineAnnealingDecay, learning_rate: 0.02, T_max: 10, warmup: null}"
    plateau = "optimizer.lr={name: ReduceOnPlateau, learning_rate: 0.003, warmup: null}"
    assert run("-o", "optimizer.lr=0.01", "-o", "trainer.max_steps=4") == 0
    assert run("-o", cosine, "-o", "trainer.max_steps=7", "--allow-change") == 0
    assert run("-o", plateau, "--allow-change") == 0
    rates = [entry["train/lr"] for entry in records(here) if "train/lr" in entry]
    assert rates[:4] == [0.01] * 4
    assert rates[4:7] == list(preview_rates(load_config("c.yaml", [cosine])).rates[4:7])
    assert rates[7:] == [0.003] * 3


def test_the_same_schedule_by_epochs_in_place_of_steps_counts_the_epochs(here: Path) -> None:
    halves = "optimizer.lr={name: StepDecay, learning_rate: 0.4, step_size: 1, gamma: 0.5, warmup: null}"
    assert run("-o", halves, "-o", "trainer.max_steps=7", "-o", "checkpoint.every_steps=7") == 0
    assert run("-o", halves, "-o", "optimizer.lr.interval=epoch", "--allow-change") == 0
    rates = [entry["train/lr"] for entry in records(here) if "train/lr" in entry]
    assert rates[:7] == [0.4 * 0.5**step for step in range(7)]
    assert rates[7:] == [0.2] * 3


def handed_over(old: Any, new: Any) -> Any:
    """`new` after it has taken over from `old`, through the owner of the learning rate."""
    parameters = paddle.nn.Linear(1, 1).parameters()
    state = SchedulerState(paddle.optimizer.SGD(old, parameters=parameters)).state_dict()
    owner = SchedulerState(paddle.optimizer.SGD(new, parameters=parameters))
    assert owner.differences(state)
    owner.set_state_dict(state)
    return new


def reduced() -> Any:
    scheduler = lr.ReduceOnPlateau(0.5, patience=1, factor=0.5)
    for loss in (1.0, 2.0, 3.0, 0.5, 0.7):
        scheduler.step(loss)
    assert (scheduler(), scheduler.best, scheduler.num_bad_epochs) == (0.25, 0.5, 1)
    return scheduler


@pytest.mark.parametrize("wrap", [lambda plateau: plateau, lambda plateau: Warmup(plateau, 3, interval="epoch")])
def test_a_plateau_with_other_arguments_keeps_what_it_has_seen(wrap: Callable[[Any], Any]) -> None:
    old = wrap(reduced())
    if isinstance(old, Warmup):
        for _ in range(5):
            old.count_update()
    patient = handed_over(old, wrap(lr.ReduceOnPlateau(0.5, patience=4, factor=0.5)))
    plateau = getattr(patient, "learning_rate", patient)
    assert (patient(), plateau.best, plateau.num_bad_epochs, plateau.patience) == (0.25, 0.5, 1, 4)
    assert handed_over(old, wrap(lr.ReduceOnPlateau(0.1, patience=1, factor=0.5)))() == 0.1


def test_a_schedule_that_takes_over_is_as_far_as_the_one_before() -> None:
    old, untouched = lr.StepDecay(0.5, 3), lr.LinearLR(0.5, total_steps=20)
    for _ in range(7):
        old.step()
        untouched.step()
    assert handed_over(old, lr.LinearLR(0.5, total_steps=20))() == untouched()
    with pytest.raises(StateError, match="OneCycleLR cannot go on at position 7, where the run stands"):
        handed_over(old, lr.OneCycleLR(0.5, total_steps=5))


def test_arguments_that_a_class_does_not_keep_by_name_are_compared_too() -> None:
    def owner(end: float) -> SchedulerState:
        schedule = lr.OneCycleLR(0.5, total_steps=40, end_learning_rate=end)
        return SchedulerState(paddle.optimizer.SGD(schedule, parameters=paddle.nn.Linear(1, 1).parameters()))

    (line,) = map(str, owner(0.02).differences(owner(0.01).state_dict()))
    assert line == "learning rate OneCycleLR._lr_config: [0.02, 0.5, 0.01] -> [0.02, 0.5, 0.02]"


_BATCH = ConfigScope(("data.global_batch_size",))
DIFFERENCES = {
    "config": [
        config_difference("optimizer.lr.gamma", 0.1, 0.2),
        config_difference("optimizer.beta1", ABSENT, 0.5),
        config_difference("model.hidden", 8, 9),
    ],
    "scheduler": [Difference("learning rate StepDecay.gamma", 0.1, 0.2, LR_SCOPE)],
    "settings": [Difference("optimizer beta1", 0.9, 0.5, ConfigScope(("optimizer",), without=("optimizer.lr",)))],
    "data": [
        Difference("data global_batch_size", 32, 64, _BATCH),
        Difference("data digest", "a", "b", ConfigScope(("data", "run.seed"), without=_BATCH.keys)),
    ],
    "evaluation": [Difference("valid data global_batch_size", 32, 64, _BATCH)],
    "update": [Difference("accumulate_steps", 1, 2, ConfigScope(("trainer.accumulate_steps",)))],
    "environment": [Difference("environment paddle", "3.3.1", "2.6.2")],
    "owners": [Difference("file .pdema", "saved", "nobody here owns it")],
}


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ([], []),
        (["optimizer.lr.gamma=0.2"], ["config 0", "scheduler 0"]),
        (["optimizer.lr=1"], ["config 0", "scheduler 0"]),
        (["optimizer.lr.name=StepDecay"], ["config 0", "scheduler 0"]),
        (["optimizer.beta1=0.5"], ["config 1", "settings 0"]),
        (["optimizer.name=SGD"], ["config 1", "settings 0"]),  # It drops the arguments, and keeps the schedule.
        (["optimizer.lr.learning_rate=1"], []),  # The rate differs by another key than the one that was given.
        (["data.global_batch_size=64"], ["data 0", "evaluation 0"]),
        (["data.name=other"], ["data 1"]),
        (["run.seed=7"], ["data 1"]),
        (["trainer.accumulate_steps=2"], ["update 0"]),
        (["trainer.epochs=5", "run.device=gpu"], []),
    ],
)
def test_leave_is_given_to_what_was_named_and_to_what_follows_from_it(overrides: list[str], wanted: list[str]) -> None:
    every = [one for owner, found in DIFFERENCES.items() for one in reported_by(owner, found)]
    expected = [str(DIFFERENCES[owner][int(index)]) for owner, index in map(str.split, wanted)]
    assert sorted(map(str, AllowedChanges(overrides).wanted(every))) == sorted(expected)


def test_what_auto_counts_follows_from_the_length_of_the_run() -> None:
    both = [
        *reported_by("config", [config_difference("optimizer.lr.T_max", 7, 12)]),
        *reported_by("scheduler", [Difference("learning rate CosineAnnealingDecay.T_max", 7, 12, LR_SCOPE)]),
    ]
    length_keys = ("trainer.epochs",)
    assert AllowedChanges(["trainer.epochs=3"], ["optimizer.lr.T_max"], length_keys).wanted(both) == both
    assert AllowedChanges(["trainer.log_every=3"], ["optimizer.lr.T_max"], length_keys).wanted(both) == []
    assert AllowedChanges(["trainer.epochs=3"], [], length_keys).wanted(both) == []


def test_how_often_a_run_evaluates_alters_it_only_if_a_plateau_listens() -> None:
    def differences(metric: str | None) -> list[str]:
        def resolved(every: int) -> dict[str, Any]:
            return {"optimizer": {"lr": {"name": "a", "metric": metric}}, "trainer": {"evaluate_every": every}}

        return list(map(str, ConfigState(resolved(5)).differences(resolved(4))))

    assert differences("valid/loss") == ["trainer.evaluate_every: 4 -> 5"]
    assert differences(None) == []


# ---------------------------------------------------------------- the picture


def plot(*options: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["plot-lr", "-c", "c.yaml", *options])
    return int(end.value.code or 0)


def test_the_picture_and_its_text_show_the_whole_schedule(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plot("--output", "out/lr.png", "--epochs", "4") == 0
    assert "20 steps (4 epochs of 5); first 0, peak 0.01 at step 3, last " in capsys.readouterr().out
    png = Path("out/lr.png").read_bytes()
    assert png.startswith(b"\x89PNG") and struct.unpack(">II", png[16:24]) == (990, 495)
    assert plot("--output", "lr.svg") == 0
    svg = Path("lr.svg").read_text()
    assert "<svg" in svg
    assert not Path("ck").exists()


def test_the_preview_has_the_rates_of_the_run_itself(here: Path) -> None:
    assert run() == 0
    rates = [entry["train/lr"] for entry in records(here) if "train/lr" in entry]
    assert np.array(rates).tobytes() == preview_rates(load_config("c.yaml")).rates.tobytes()


def test_of_a_long_run_the_picture_keeps_every_peak() -> None:
    rates = np.zeros(100_000)
    rates[[7, 33_333, 99_998]] = 1.0
    steps = _downsampled(rates)
    assert len(steps) < 5000
    assert {0, 7, 33_333, 99_998, 99_999} <= set(steps.tolist())


@pytest.mark.parametrize(
    ("options", "missing", "text"),
    [
        (("--output", "lr.txt"), "", "--output lr.txt: expected a name that ends in .png, .svg or .pdf."),
        (("--output", "lr.png"), "matplotlib", "Drawing needs Matplotlib"),
        (("--output", "c.yaml/lr.png"), "", "c.yaml/lr.png"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_plain_error(
    options: tuple[str, ...],
    missing: str,
    text: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    assert plot(*options) == 2
    assert text in capsys.readouterr().err
