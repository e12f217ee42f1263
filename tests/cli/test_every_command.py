"""Every command once, on a tiny run: what breaks a command on one version of Python shows here."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image
from places import ROOT

from paddle_resume.cli import main
from paddle_resume.cli.app import app

pytestmark = pytest.mark.pythons
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
TOOLS = ROOT / "tools"
DOORS = sorted(path.name for path in TOOLS.glob("*.py") if "sys.argv[1:]" in path.read_text(encoding="utf-8"))
CONFIG = """
run: {{name: tiny, save_dir: ck, log_dir: log}}
model: {{name: MLP, hidden: 8}}
data: {{name: mnist, root: {root}, global_batch_size: 10}}
optimizer: {{name: Adam, lr: 0.01}}
trainer: {{epochs: 4, max_steps: 6, log_every: 2}}
checkpoint: {{every_steps: 2, every_epochs: 1, keep: 4}}
"""
TEXT = """
run: {name: text, save_dir: ck, log_dir: textlog}
model: {name: TransformerLM, vocab_size: auto, context: auto, width: 8, depth: 1, heads: 1}
data: {name: TextDataset, files: [words.txt], context: 4, global_batch_size: 10}
loss: {name: CrossEntropyLoss}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 1, max_steps: 2}
"""
NEWEST, OLDER = "ck/tiny_step6", "ck/tiny_step4"
WEIGHTS = ("-c", "c.yaml", "--weights", NEWEST)
# What each is called with, how it ends, and some of what it says or the file that it writes.
CALLS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "train": (("-c", "c.yaml", "-o", "trainer.max_steps=8", "--allow-change", "--lr-change", "hold"), 0, "8"),
    "eval": (WEIGHTS, 0, "test/loss: "),
    "export": ((*WEIGHTS, "--output", "again/net"), 0, "again/net.pdiparams"),
    "predict": (("export/tiny", "digit.png"), 0, "digit.png"),
    "generate": (("-c", "text.yaml", "--weights", "ck/text_step2", "--prompt", "a", "--length", "3"), 0, "a"),
    "prove": (("-c", "c.yaml", "--kills", "1", "--steps", "3"), 0, "3 steps end bit for bit as without"),
    "plot-lr": (("-c", "c.yaml", "-o", "optimizer.lr=0.02", "--output", "lr.png"), 0, "lr.png"),
    "inspect": ((*WEIGHTS, "--values"), 0, "hidden"),
    "plot": (("log/tiny", "--output", "curves.png", "--save-dir", "ck"), 0, "curves.png"),
    "wrong": ((*WEIGHTS, "--output", "wrong.png"), 0, "wrong.png"),
    "run": (("--max-restarts", "1", "--", sys.executable, "-c", "print(6 * 7)"), 0, "42"),
    "wrap": (("--resume", "", "--", "train.py"), 2, "--resume is empty"),  # It becomes the program: tests/suites.
    "interval": (("--save-stall", "1s", "--mtbf", "1d", "--step-time", "1s", "--output", "cost.png"), 0, "cost.png"),
    "convert": ((NEWEST, "--output", "net.safetensors"), 0, "net.safetensors"),
    "list": (("ck", "--verify"), 0, "tiny_step6"),
    "show": ((NEWEST,), 0, "hidden.weight"),
    "verify": (("ck",), 0, "tiny_step6"),
    "diff": ((OLDER, NEWEST), 1, "hidden.weight"),
    "average": ((OLDER, NEWEST, "--output", "mean.pdparams"), 0, "mean.pdparams"),
    "strip": ((NEWEST, "--output", "plain.pdparams"), 0, "plain.pdparams"),
    "prune": (("ck", "--keep", "1"), 0, "tiny_step4"),
    "recover": ((NEWEST, "--output", "saved.pdparams"), 0, "saved.pdparams"),
    "merge": ((NEWEST,), 2, "shard"),  # Shards need several processes: test_sharded.py.
    "doctor": ((".",), 0, "Paddle"),
    "configs": ((), 0, "mnist"),
    "schema": ((), 0, "properties"),
}


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_mnist: Path) -> Path:
    """A folder with a run of 6 steps, its export, a language model, and an image."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "c.yaml").write_text(CONFIG.format(root=tiny_mnist))
    (folder / "text.yaml").write_text(TEXT)
    (folder / "words.txt").write_text("a tiny text of a few words " * 30)
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(folder / "digit.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for config in ("c.yaml", "text.yaml"):
            assert call("train", "-c", config, "-q") == 0
        assert call("export", "-c", "c.yaml", "--weights", NEWEST) == 0
    return folder


def test_every_command_is_called_here() -> None:
    assert sorted(CALLS) == COMMANDS


@pytest.mark.pythons
@pytest.mark.full  # On the default Python other tests call each of them.
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_does_its_work(
    name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    arguments, code, found = CALLS[name]
    assert call(name, *arguments) == code, capfd.readouterr()
    said = capfd.readouterr()
    assert found in said.out + said.err or Path(found).exists(), said
    assert code < 2 or said.err.startswith("error: ")


def test_a_trial_does_all_of_it_and_touches_no_folder(
    tmp_path: Path, tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG.format(root=tiny_mnist), encoding="utf-8")
    assert call("train", "-c", "c.yaml", "--trial") == 0
    said = capfd.readouterr().out
    assert said.startswith("Trial: all of it works.") and "a resume from step 1" in said
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]
    assert call("train", "-c", "c.yaml", "--trial", "--overwrite") == 2
    assert "--trial works in a folder of its own" in capfd.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    assert "Examples:" in capsys.readouterr().out


@pytest.mark.parametrize("door", DOORS)
def test_each_door_in_tools_leads_to_a_command(
    door: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [door, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOLS / door), run_name="__main__")
    assert not end.value.code and "Usage:" in capsys.readouterr().out
