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
    assert prove("--kills", "2", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["proved"] and found["steps"] == 10 and found["differences"] == []
    assert len(found["kills"]) == 2 and all(kill["landed"] for kill in found["kills"])
    assert "Proved: after 2 kills, 10 steps end bit for bit as without" in captured.err
    assert [path.name for path in Path().iterdir()] == ["c.yaml"]


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lives are forked from the servers of all tests."""
    monkeypatch.setattr(config_program, "ForkServers", lambda: nullcontext(forking.servers()))


def test_stops_are_proved_beside_kills_and_counted(capsys: pytest.CaptureFixture[str], forked: None) -> None:
    assert prove("--kills", "3", "--stops", "--json", "--seed", "1") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["proved"] and found["signals"] == {"SIGKILL": 1, "SIGTERM": 1, "SIGINT": 1}
    assert sorted(kill["signal"] for kill in found["kills"]) == ["SIGINT", "SIGKILL", "SIGTERM"]
    assert "Proved: after 3 interruptions (1 by SIGINT, 1 by SIGKILL, 1 by SIGTERM), 10 steps end" in captured.err
    assert "Running until SIGTERM " in captured.err and "Running until killed " in captured.err


def test_several_processes_are_proved(capsys: pytest.CaptureFixture[str], forked: None) -> None:
    assert prove("--kills", "1", "--json", "--seed", "3", "--processes", "2") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["proved"] and found["processes"] == 2 and all(kill["landed"] for kill in found["kills"])
    assert {kill["process"] for kill in found["kills"]} <= {"all", 0, 1}
    assert "10 steps of 2 processes end bit for bit as without" in captured.err


@pytest.mark.parametrize("more", [(), ("--repeat",)], ids=["kills", "repeat"])
def test_another_number_of_processes_than_the_mesh_has_is_one_sentence(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove("-o", "parallel.mesh.model=2", "--processes", "3", *more) == 2
    assert capsys.readouterr().err == (
        "error: --processes is 3, and parallel.mesh: data 1 x model 2 is 2 processes; leave out --processes, or change "
        "the mesh.\n"
    )


def test_a_config_whose_runs_differ_is_not_proved(
    config: Path, capsys: pytest.CaptureFixture[str], forked: None
) -> None:
    Path("careless.py").write_text(CALLBACK)
    with config.open("a") as file:
        file.write('callbacks: [{name: "careless:Careless"}]\n')
    assert prove("--kills", "1") == 1
    printed = capsys.readouterr().out
    assert "NOT proved." in printed and "of .pdparams differs" in printed
