"""A checkpoint whose record somebody has edited, its digest made to fit: no command imports or builds what it names."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import hostile_doors
import pytest

from paddle_resume.checkpoint import record
from paddle_resume.errors import PaddleResumeError

WEIGHTS = ("-c", "run.yaml", "--weights", "run_step4")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "-c", "run.yaml", "-q", "-o", "trainer.max_steps=5", "--allow-change"),
    "train --resume": ("train", "-c", "run.yaml", "-q", "--resume", "run_step4", "-o", "run.save_dir=new"),
    "train --allow-inexact": ("train", "-c", "run.yaml", "-q", "-o", "trainer.max_steps=6", "--allow-inexact"),
    "train --weights": ("train", "-c", "run.yaml", "-q", "--weights", "run_step4", "-o", "run.save_dir=other"),
    "eval": ("eval", *WEIGHTS),
    "export": ("export", *WEIGHTS),
    "predict": ("predict", *WEIGHTS, "data/t10k-images-idx3-ubyte"),
    "inspect": ("inspect", *WEIGHTS, "--values"),
    "wrong": ("wrong", *WEIGHTS),
    "convert": ("convert", "run_step4", "--output", "x.safetensors"),
    "list": ("list", "."),
    "show": ("show", "run_step4", "--all"),
    "verify": ("verify", "."),
    "diff": ("diff", "run_step2", "run_step4"),
    "average": ("average", "run_step2", "run_step4", "--output", "mean.pdparams"),
    "strip": ("strip", "run_step4", "--output", "stripped.pdparams"),
    "prune": ("prune", ".", "--keep", "1"),
    "recover": ("recover", "."),
    "plot": ("plot", "log/run", "--save-dir", "."),
}
BOOM = "from pathlib import Path\nPath('MARKER').write_text('imported')\nclass Boom: only_watches = True\n"
NAMES = ("boom_here:Boom", "paddle.hub:load", "antigravity:x", "os:system")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before = tmp_path_factory.mktemp("run"), Path.cwd()
    try:
        hostile_doors.make_run(folder)
    finally:
        os.chdir(before)
    return folder


def edit(path: Path, name: str) -> None:
    """Put the name wherever the record's config has one, and have the digest fit."""
    body = json.loads(path.read_text())
    config = body["owners"]["config"]
    for section in ("model", "data", "loss", "optimizer"):
        config[section]["name"] = name
    config["optimizer"]["lr"] = {"name": name, "lr_lambda": name}
    config["optimizer"]["clip"] = {"name": name}
    config["data"]["augment"] = config["callbacks"] = config["metrics"] = [{"name": name}]
    body.pop("digest")
    path.write_text(json.dumps({**body, "digest": record._own_digest(body)}))


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.full) for name in NAMES[1:])])
def test_no_command_imports_what_an_edited_record_names(
    name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    (folder / "boom_here.py").write_text(BOOM)
    monkeypatch.chdir(folder)
    edit(folder / "run_step4.pdstates", name)
    assert record.read(folder / "run_step4.pdstates").owners["config"]["model"]["name"] == name
    told: dict[str, Any] = {}
    for command, arguments in COMMANDS.items():
        try:
            told[command] = hostile_doors.command(*arguments)
        except PaddleResumeError as error:
            told[command] = error
    assert not (folder / "MARKER").exists()
    assert not {"boom_here", "antigravity"} & set(sys.modules)
    # They did read it: one says that it differs, another shows it.
    assert "model.name" in str(told["train"])
    assert name in str(told["show"]) or "config" in str(told["show"])


FULL = ("x", [1], {"callbacks": 3}, {"callbacks": [[]]}, {})


@pytest.mark.parametrize(
    "value", [3, {"callbacks": [{"name": 3}]}, *(pytest.param(value, marks=pytest.mark.full) for value in FULL)]
)
def test_a_config_of_a_record_that_is_none_is_told_in_a_sentence(
    value: Any, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    path = folder / "run_step4.pdstates"
    body = json.loads(path.read_text())
    body["owners"]["config"] = value
    body.pop("digest")
    path.write_text(json.dumps({**body, "digest": record._own_digest(body)}))
    for arguments in (COMMANDS["train"], COMMANDS["show"]):
        try:
            hostile_doors.command(*arguments)
        except PaddleResumeError as error:
            assert str(error).startswith("error: ")
