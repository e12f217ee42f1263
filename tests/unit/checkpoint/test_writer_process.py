"""The writer process outlives what is meant for the trainer, from its first moment on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

import paddle_resume  # noqa: F401 - first of all, since it sets up the CPU before Paddle is imported
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.reader import load


class Count:
    """An owner of one number."""

    def __init__(self) -> None:
        self.value = 7

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_reaches_the_writer_while_it_starts_loses_no_save(signum: int, tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    engine = CheckpointEngine(tmp_path, "run")
    engine.prepare()
    (writer,) = set(psutil.Process().children()) - before
    writer.send_signal(signum)
    assert engine.save(3, {"count": Count()}) == tmp_path / "run_step3"
    assert engine.wait() == tmp_path / "run_step3"
    engine.close()
    assert load(tmp_path / "run_step3").record.owners["count"] == {"value": 7}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_no_program_that_the_writer_starts_could_gain_rights(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    engine = CheckpointEngine(tmp_path, "run")
    engine.save(3, {"count": Count()})
    (writer,) = set(psutil.Process().children()) - before
    engine.wait()
    assert "NoNewPrivs:\t1" in Path(f"/proc/{writer.pid}/status").read_text()
    assert "NoNewPrivs:\t1" not in Path("/proc/self/status").read_text()
    engine.close()
