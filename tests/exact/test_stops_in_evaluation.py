"""A stop within an evaluation before whose step nothing was saved: whatever its hooks have changed is put back."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from small_run import train, trainer

from paddle_resume import Callback
from paddle_resume.owners.model import ModelState
from paddle_resume.testing import first_differences
from paddle_resume.training import parts
from paddle_resume.training.ema import WeightAverage
from paddle_resume.training.state_as_now import state_as_now


class Net(paddle.nn.Layer):
    """Has a buffer that is in its state_dict, and one that is not; both go into what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = paddle.nn.Linear(8, 16), paddle.nn.Linear(16, 2)
        self.register_buffer("kept", paddle.ones([16]))
        self.kept.name = "kept_0"  # Else it is the number of tensors that this process has made.
        self.register_buffer("hidden", paddle.ones([16]), persistable=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.last(paddle.tanh(self.first(x)) * self.kept * self.hidden)


def grow(tensor: paddle.Tensor) -> None:
    tensor.set_value(tensor * 1.01)


def update(run: Any) -> None:
    """A whole update from a loss of its own, as one that adapts to what it is evaluated on makes it."""
    with paddle.enable_grad():
        run.model(paddle.ones([4, 8])).sum().backward()
    run.optimizer.step()
    run.optimizer.clear_grad()


class Counts(Callback):
    """Gives its count as a state of its own, for which nobody looks into it."""

    count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def count(run: Any) -> None:
    run.counts.count += 1


CHANGES: dict[str, Callable[[Any], object]] = {
    "weight": lambda run: grow(run.model.first.weight),
    "buffer": lambda run: grow(run.model.kept),
    "hidden buffer": lambda run: grow(run.model.hidden),
    "accumulator": lambda run: grow(next(iter(run.optimizer._accumulators["velocity"].values()))),
    "update": update,
    "average": lambda run: grow(run._parts.monitoring.ema._average["first.weight"]),
    "weight beside the average": lambda run: grow(run.model.first.weight),
    "rate": lambda run: run.optimizer.set_lr(run.optimizer.get_lr() * 0.9),
    "draw": lambda run: (np.random.rand(), paddle.rand([1])),
    "log": lambda run: run.loggers[0].log_scalars({"mine/value": 1.0}, run.step),
    "state of a callback": count,
}
AVERAGED = ("average", "weight beside the average")
# Weights are the average's while it is evaluated, and a draw is put back after each batch's hook in any case.
IN_EACH_STEP = [what for what in CHANGES if what not in ("weight beside the average", "draw")]
OFTEN = ("weight", "buffer", "accumulator")
CASES = [
    *((what, "on_evaluate_begin") for what in CHANGES),
    *(pytest.param(w, "on_evaluate_step", marks=pytest.mark.full if w not in OFTEN else ()) for w in IN_EACH_STEP),
]
AFTER = [(what, "on_evaluate_end") for what in OFTEN]
STOPS = [(5, "valid"), (10, "valid"), (15, "valid"), (15, "test")]


class Changes(Callback):
    """Changes one thing in one hook of each evaluation."""

    only_watches = True

    def __init__(self, what: str, hook: str) -> None:
        self.what, self.hook = what, hook

    def on_evaluate_begin(self, run: Any, split: str) -> None:
        self._in("on_evaluate_begin", run)

    def on_evaluate_step(self, run: Any) -> None:
        self._in("on_evaluate_step", run)

    def on_evaluate_end(self, run: Any, split: str, results: Any) -> None:
        self._in("on_evaluate_end", run)

    def _in(self, hook: str, run: Any) -> None:
        if hook == self.hook:
            CHANGES[self.what](run)


class Stop(Callback):
    """Sends SIGTERM after the first batch of the evaluation of one part of the data after one step."""

    only_watches = True

    def __init__(self, step: int, split: str) -> None:
        self.at = (step, split)

    def on_evaluate_begin(self, run: Any, split: str) -> None:
        self.split = split

    def on_evaluate_step(self, run: Any) -> None:
        if (run.step, self.split) == self.at:
            signal.raise_signal(signal.SIGTERM)


def trained(folder: Path, what: str, hook: str, *stop: Callback, every_steps: int = 4) -> Any:
    """A trainer that saves at no step after which it evaluates, which it does after each epoch of five steps."""
    counts = Counts()
    made = trainer(
        folder,
        model=Net,
        callbacks=[counts, Changes(what, hook), *stop],
        every_steps=every_steps,
        every_epochs=None,
        keep=100,
        ema=WeightAverage(0.9, evaluate=what == "weight beside the average") if what in AVERAGED else None,
    )
    made.__dict__["counts"] = counts
    return made


def run(folder: Path, what: str, hook: str) -> Any:
    return train(trained(folder, what, hook))


Straight = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """Gives the folder of a run that nobody stopped, made once."""

    @cache
    def made(what: str, hook: str) -> Path:
        folder = tmp_path_factory.mktemp("straight")
        run(folder, what, hook)
        return folder

    return made


def differences(straight: Path, folder: Path, what: str, hook: str, stops: Sequence[tuple[int, str]]) -> list[str]:
    """What a run that was stopped in each of these evaluations has otherwise; the stops' own checkpoints do not count.

    Each stop has saved its step, although nothing was saved there before.
    """
    restored = 0
    for stop in stops:
        made = trained(folder, what, hook, Stop(*stop))
        with pytest.raises(SystemExit):
            train(made)
        assert made.restored is None if restored == 0 else made.restored.step == restored
        restored = stop[0]
    assert run(folder, what, hook).restored.step == restored
    return [line for line in first_differences(straight, folder) if "only in the killed run" not in line]


@pytest.mark.parametrize(("what", "hook"), CASES + AFTER)
def test_what_a_hook_has_changed_until_the_stop_is_put_back(
    what: str, hook: str, straight: Straight, tmp_path: Path
) -> None:
    assert differences(straight(what, hook), tmp_path, what, hook, STOPS) == []


@pytest.mark.parametrize(("what", "hook"), CASES)
def test_the_proof_fails_where_only_what_was_found_is_put_back(
    what: str, hook: str, straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = straight(what, hook)
    monkeypatch.setattr(parts, "state_as_now", lambda owners: state_as_now(list(owners)[:1]))
    assert differences(expected, tmp_path, what, hook, STOPS[:1])


@pytest.mark.parametrize(("every_steps", "is_copied"), [(5, False), (4, True)])
def test_the_model_is_copied_only_where_the_step_has_no_checkpoint(
    every_steps: int, is_copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    def as_now(owners: Iterable[object]) -> Callable[[], None]:
        owners = list(owners)
        kept.append(any(isinstance(owner, ModelState) for owner in owners))
        return state_as_now(owners)

    monkeypatch.setattr(parts, "state_as_now", as_now)
    train(trained(tmp_path, "draw", "on_evaluate_begin", every_steps=every_steps))
    assert kept == [is_copied] * 4
