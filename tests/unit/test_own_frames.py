"""An error that a user reads comes with the user's own lines, not with those of this package."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import paddle
import pytest
from small_run import Points, net

from paddle_resume import Trainer
from paddle_resume.errors import PaddleResumeError
from paddle_resume.own_frames import FULL
from paddle_resume.processor import physical_cores


class Failing(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.inner(x) + x  # shapes that do not go together


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FULL, raising=False)


def printed(folder: Path, model: paddle.nn.Layer, **named: Any) -> str:
    adam = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    trainer = Trainer(model, adam, loss=paddle.nn.CrossEntropyLoss(), save_dir=folder, console=False)
    with pytest.raises(PaddleResumeError) as found:
        trainer.train(Points(), **{"epochs": 1, "global_batch_size": 8, **named})
    return "".join(traceback.format_exception(type(found.value), found.value, found.value.__traceback__))


def test_the_line_that_called_is_there_and_what_lies_below_is_not(tmp_path: Path) -> None:
    text = printed(tmp_path, net(), epochs=0)
    assert "trainer.train(Points()" in text and "epochs=0" in text
    assert "checked_arguments.py" not in text and "trainer.py" not in text
    assert len(text.splitlines()) < 10


def test_of_a_cause_the_lines_of_the_user_stay(tmp_path: Path) -> None:
    text = printed(tmp_path, Failing())
    assert "shapes that do not go together" in text and "The above exception was the direct cause" in text
    assert "session.py" not in text and "first_samples.py" not in text


def test_all_of_it_is_there_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FULL, "full")
    text = printed(tmp_path, Failing())
    assert "session.py" in text and "first_samples.py" in text


@pytest.mark.skipif(physical_cores() < 2, reason="Paddle has no advice on one thread")
@pytest.mark.parametrize("chosen_by", ["this package", "the user"])
def test_advice_on_threads_is_shown_to_whom_it_may_concern(chosen_by: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if chosen_by == "the user":
        environment["OMP_NUM_THREADS"] = "2"
    program = """
import os
import paddle_resume
import paddle
assert int(os.environ["OMP_NUM_THREADS"]) > 1
assert "exec_module" not in vars(paddle.__spec__.loader)
"""
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ("OMP_NUM_THREADS" in ran.stderr) == (chosen_by == "the user"), ran.stderr
