"""What a person sees of a run: steps are updates in every line, also where several batches make one."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from rich.console import Console

from paddle_resume import Callback, Monitoring, RunView, StepOptions, Trainer, seed_everything
from paddle_resume.loggers import read_records
from paddle_resume.training.run_console import RunConsole
from paddle_resume.training.run_length import RunLength


class Points(paddle.io.Dataset):
    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(2, index, np.float32), np.full(1, index, np.float32)

    def __len__(self) -> int:
        return 44


def trained(folder: Path, accumulate_steps: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of two epochs over 44 samples in batches of 4, on a clock that goes a second on with each step."""
    seed_everything(0)
    clock = iter(range(10_000))
    monkeypatch.setattr("paddle_resume.training.run_console.monotonic", lambda: float(next(clock)))
    output = io.StringIO()
    console = RunConsole([], console=Console(file=output, width=200))
    model = paddle.nn.Linear(2, 1)
    trainer = Trainer(
        model,
        paddle.optimizer.SGD(1e-4, parameters=model.parameters()),
        loss=paddle.nn.MSELoss(),
        callbacks=[console],
        save_dir=folder,
        step=StepOptions(accumulate_steps=accumulate_steps),
        monitoring=Monitoring(log_every=1),
    )
    trainer.train(Points(), epochs=2, global_batch_size=4)
    assert trainer.step == trainer.length.total_steps == 2 * -(-11 // accumulate_steps)
    return [line for line in output.getvalue().splitlines() if line.startswith("[train]")]


@pytest.mark.parametrize("accumulate_steps", [1, 4])
def test_lines_count_updates_and_samples(
    accumulate_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = trained(tmp_path, accumulate_steps, monkeypatch)
    per_epoch = -(-11 // accumulate_steps)
    counted = [re.search(r"epoch: (\d+), step: (\d+)/(\d+), ", line) for line in lines]
    assert [tuple(map(int, found.groups())) for found in counted if found] == [
        (epoch, step, per_epoch) for epoch in range(2) for step in range(1, per_epoch + 1)
    ]
    # One look at the clock a line: a step takes a second.
    assert all(f"samples/s: {4 * accumulate_steps}" in line for line in lines)
    left = [int(line.rpartition(":")[2]) for line in lines]
    assert left == list(range(2 * per_epoch - 1, -1, -1))


def test_a_length_counts_updates_everywhere() -> None:
    length = RunLength(epochs=3, max_steps=None, batches_per_epoch=11, accumulate_steps=4, batch_size=8)
    assert (length.steps_per_epoch, length.total_steps, length.samples_per_step) == (3, 9, 32)
    assert [length.steps_of(batches) for batches in (0, 1, 4, 5, 11)] == [0, 1, 1, 2, 3]
    short = RunLength(epochs=3, max_steps=7, batches_per_epoch=11, accumulate_steps=4)
    assert (short.total_steps, short.moves("step"), short.moves("epoch")) == (7, 7, 3)
    stream = RunLength(epochs=3, max_steps=None, batches_per_epoch=None)
    assert (stream.steps_per_epoch, stream.total_steps, stream.moves("epoch")) == (None, None, 3)


class Slow(Callback):
    """Leaves time to draw."""

    only_watches = True

    def on_step_end(self, trainer: Any) -> None:
        time.sleep(0.03)


def test_a_terminal_has_one_line_with_all_that_the_printed_lines_tell(tmp_path: Path) -> None:
    seed_everything(0)
    output = io.StringIO()
    console = RunConsole([], console=Console(file=output, width=160, force_terminal=True))
    model = paddle.nn.Linear(2, 1)
    trainer = Trainer(
        model,
        paddle.optimizer.SGD(1e-4, parameters=model.parameters()),
        loss=paddle.nn.MSELoss(),
        callbacks=[console, Slow()],
        save_dir=tmp_path,
    )
    trainer.train(Points(), Points(), epochs=1, global_batch_size=4)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    # Which of them are drawn depends on how quick they are.
    assert re.search(r" epoch: 0, step: \d+/11, loss: [\d.e+]+, samples/s: \d+, eta: 0:00:\d\d", drawn)
    assert "[train] epoch: 0, step: 11/11, loss: " in drawn and "epoch: 0, evaluating valid" in drawn


def test_a_trainer_in_python_prints_and_logs_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def again(**options: bool) -> str:
        seed_everything(0)
        model = paddle.nn.Linear(2, 1)
        optimizer = paddle.optimizer.SGD(1e-4, parameters=model.parameters())
        trainer = Trainer(model, optimizer, loss=paddle.nn.MSELoss(), save_dir=tmp_path / "ck", **options)
        trainer.train(Points(), epochs=1, global_batch_size=4)
        return capsys.readouterr().out

    said = again()
    assert "Data:        train 44 (Points)\nModel:       Linear, 3 parameters" in said
    assert f"Run:         model in {tmp_path}/ck, logs in {tmp_path}/ck/log/model\n" in said
    assert "[train] epoch: 0, step: 11/11, loss: " in said and "\x1b" not in said
    logs = tmp_path / "ck" / "log" / "model"
    assert {path.name for path in logs.glob("[!.]*")} == {"metrics.jsonl", "vdlrecords.model.log"}
    assert "This run is complete (11 steps): nothing is left to do." in again()
    assert again(console=False) == ""


def test_looking_at_a_bar_moves_no_bit(tmp_path: Path) -> None:
    """Each draw asks for the means so far; what is saved and logged is as if nobody had."""

    class Looking(Callback):
        def on_step_end(self, trainer: RunView) -> None:
            assert trainer.running["loss"] > 0

    kept = []
    for name, callbacks in (("plain", []), ("looking", [Looking()])):
        seed_everything(0)
        with paddle.utils.unique_name.guard():
            model = paddle.nn.Linear(2, 1)
        optimizer = paddle.optimizer.Adam(1e-2, parameters=model.parameters())
        folder = tmp_path / name
        trainer = Trainer(
            model, optimizer, loss=paddle.nn.MSELoss(), save_dir=folder, callbacks=callbacks, console=False,
            monitoring=Monitoring(log_every=4),
        )  # fmt: skip
        trainer.train(Points(), epochs=1, global_batch_size=4)
        kept.append(((folder / "model_epoch0.pdparams").read_bytes(), read_records(folder / "log/model/metrics.jsonl")))
    assert kept[0] == kept[1]
