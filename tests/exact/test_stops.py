"""A signal in any step, also in one after which an evaluation is due, changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Optional

import paddle
import pytest
from small_run import train, trainer

from paddle_resume import Best, Callback
from paddle_resume.testing import first_differences


class SignalIn(Callback):
    """Sends a signal to this process in a hook of step `step`, counted from 1."""

    only_watches = True

    def __init__(self, step: int, hook: str, signum: int) -> None:
        self.step, self.hook, self.signum = step, hook, signum

    def on_step_end(self, trainer: Any) -> None:
        self._send("on_step_end", trainer.step)

    def on_evaluate_step(self, trainer: Any) -> None:
        self._send("on_evaluate_step", trainer.step)

    def _send(self, hook: str, step: int) -> None:
        if (hook, step) == (self.hook, self.step):
            signal.raise_signal(self.signum)


def run(folder: Path, evaluate_every: Optional[int], stop: Optional[SignalIn] = None, **options: Any) -> Any:
    """Two epochs of five steps. Every evaluation lowers the rate; the first is the best; the fourth ends the run."""
    made = trainer(
        folder,
        lambda: paddle.optimizer.lr.ReduceOnPlateau(0.1, factor=0.5, patience=0, threshold=10.0),
        evaluate_every=evaluate_every,
        best=Best("valid/loss", mode="max", patience=3),
        callbacks=[stop] if stop else [],
        every_steps=3,
        keep=100,
        log_every=2,
    )
    return train(made, epochs=2, **options)


def differences(straight: Path, stopped: Path) -> list[str]:
    """All but the checkpoint of the stop itself, where the straight run has none."""
    return [line for line in first_differences(straight, stopped) if "only in the killed run" not in line]


@pytest.fixture(scope="module", params=[2, 5, None])
def straight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("straight")
    return folder, request.param, run(folder, request.param)


# Within an epoch and at its end, with and without a save and an evaluation there, and where patience runs out.
OFTEN = (2, 3, 5, 8)


@pytest.mark.parametrize("hook", ["on_step_end", "on_evaluate_step"])
@pytest.mark.parametrize("often", [True, pytest.param(False, marks=pytest.mark.full)])
def test_a_stop_at_any_step_changes_nothing(often: bool, hook: str, straight: Any, tmp_path: Path) -> None:
    folder, every, made = straight
    assert made.optimizer.get_lr() < 0.1
    for step in range(1, made.step + 1):
        if (step in OFTEN) is not often or (hook == "on_evaluate_step" and step % (every or 5)):
            continue
        stop = SignalIn(step, hook, signal.SIGTERM if step % 2 else signal.SIGINT)
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            run(tmp_path / f"{step}", every, stop)
        again = run(tmp_path / f"{step}", every)
        assert again.restored.step == step
        assert differences(folder, tmp_path / f"{step}") == [], f"stopped in step {step}"


def test_a_stop_in_the_last_step_of_a_run_that_ends_within_an_epoch_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path / "straight", 2, max_steps=7)
    with pytest.raises(SystemExit):
        run(tmp_path / "stopped", 2, SignalIn(7, "on_step_end", signal.SIGTERM), max_steps=7)
    run(tmp_path / "stopped", 2, max_steps=7)
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []


def counting_loss() -> Any:
    """A loss that is larger the more often it was called, in evaluations too."""
    calls = 0

    def loss(output: Any, label: Any) -> Any:
        nonlocal calls
        calls += 1
        return paddle.nn.functional.cross_entropy(output, label) * (1 + 0.1 * calls)

    return loss


@pytest.mark.parametrize("every", [3, None])
def test_what_an_evaluation_has_moved_until_it_was_stopped_is_put_back(every: Optional[int], tmp_path: Path) -> None:
    def counted(name: str, *callbacks: Any) -> None:
        made = trainer(tmp_path / name, evaluate_every=every, callbacks=list(callbacks), every_steps=2, keep=100)
        made.loss = counting_loss()
        train(made, epochs=2)

    counted("straight")
    with pytest.raises(SystemExit):
        counted("stopped", SignalIn(every or 5, "on_evaluate_step", signal.SIGTERM))
    counted("stopped")
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []


def test_a_stop_after_an_epochs_end_leaves_the_checkpoint_of_its_last_step_alone(tmp_path: Path) -> None:
    def stepped(name: str, *callbacks: Any) -> None:
        made = trainer(tmp_path / name, callbacks=list(callbacks), every_steps=5, every_epochs=None, keep=100)
        train(made, epochs=3)

    stepped("straight")
    with pytest.raises(SystemExit):
        stepped("stopped", SignalIn(5, "on_evaluate_step", signal.SIGTERM))
    stepped("stopped")
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []
