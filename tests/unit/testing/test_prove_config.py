"""`prove`: a sound config is proved with its kills, and one whose runs differ is not."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import forking
import pytest

from paddle_resume.cli import main
from paddle_resume.testing import config_program

CONFIG = """
run: {{name: tiny}}
model: {{name: MLP, hidden: 8}}
data: {{name: mnist, root: {root}, valid: 10, global_batch_size: 10}}
optimizer: {{name: Adam, lr: 0.01}}
trainer: {{epochs: 2, log_every: 2}}
"""
CALLBACK = """
import os
import paddle_resume
class Careless(paddle_resume.Callback):
    def on_step_end(self, run):
        bias = run.model.parameters()[-1]
        bias.set_value(bias + os.urandom(1)[0])
"""


def prove(*options: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["prove", "-c", "c.yaml", *options])
    return int(end.value.code or 0)


@pytest.fixture(autouse=True)
def config(tiny_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(CONFIG.format(root=tiny_mnist))
    return tmp_path / "c.yaml"


def test_a_config_is_proved_and_nothing_of_the_proof_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert prove("--kills", "3", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["proved"] and found["steps"] == 10 and found["differences"] == []
    assert len(found["kills"]) == 3 and all(kill["landed"] for kill in found["kills"])
    assert "Proved: after 3 kills, 10 steps end bit for bit as without" in captured.err
    assert [path.name for path in Path().iterdir()] == ["c.yaml"]


def test_a_config_whose_runs_differ_is_not_proved(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_program, "ForkServers", lambda: nullcontext(forking.servers()))
    Path("careless.py").write_text(CALLBACK)
    with config.open("a") as file:
        file.write('callbacks: [{name: "careless:Careless"}]\n')
    assert prove("--kills", "1") == 1
    printed = capsys.readouterr().out
    assert "NOT proved." in printed and "of .pdparams differs" in printed
