"""Import paths in a config: modules of the user's own, and others only by an explicit word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from paddle_resume.builders.model import build_model, check_components
from paddle_resume.builders.own_modules import says_of_itself
from paddle_resume.builders.registry import build, resolve, resolve_function
from paddle_resume.builders.run import only_watches
from paddle_resume.config import load_config, trust
from paddle_resume.errors import ConfigError

OWN = """
import functools
import os
from json import JSONDecoder
from os import system
import numpy as np
import paddle
from paddle.hub import load
from visualdl import LogWriter
from paddle_resume.training.callbacks import Callback

class Net(paddle.nn.Layer):
    def __init__(self, width=3):
        super().__init__()

class Watcher(Callback):
    only_watches = True

class Meddler(Callback):
    pass

Other = paddle.vision.models.ResNet
Sneaky = type(Net)("Sneaky", (Net,), {"__module__": "os"})
shorter = functools.partial(os.system, "touch MARKER")
def half(epoch): return 0.5 ** epoch
"""
# Never resolved: each is of the wrong kind as well, or would run code from elsewhere.
REFUSED = {
    "paddle.hub:load": "paddle.hub is a part of Paddle",
    "paddle.vision.models.resnet:ResNet": "is a part of Paddle",
    "os:system": "os is a part of Python",
    "posix:system": "posix is a part of Python",
    "builtins:eval": "builtins is a part of Python",
    "subprocess:Popen": "subprocess is a part of Python",
    "antigravity:x": "antigravity is a part of Python",
    "runpy:run_path": "runpy is a part of Python",
    "numpy:load": "numpy is installed",
    "yaml:Loader": "yaml is installed",
    "pip._internal.cli.main:main": "pip is installed",
    "paddle_resume.builders.registry:importlib": "is a part of this package",
    "paddle_resume.data.download:httpx": "is a part of this package",
    "own_here:os.system": "is not an import path",
    "own_here:np.load": "is not an import path",
    "own_here.os:system": "No module named 'own_here.os'",
    "own_here:system": "is the function posix.system",
    "own_here:load": "paddle.hapi.hub",
    "own_here:Other": "is of the module paddle.vision.models.resnet, which is not yours",
    "own_here:Sneaky": "is of the module os, which is not yours",
    "own_here:JSONDecoder": "is the class json.decoder.JSONDecoder",
    "linked_here:system": "linked_here is installed",
    "nowhere_here:Net": "looked beside the config, in the working directory and on PYTHONPATH: ",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's own in the working directory."""
    (tmp_path / "own_here.py").write_text(OWN)
    (tmp_path / "linked_here.py").symlink_to(os.__file__)
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch)
    return tmp_path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(trust, "_vouched", set())
    monkeypatch.setattr(trust, "_config_folders", [])
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_here")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_class_of_the_users_own_module_is_taken(own: Path) -> None:
    assert resolve("model", "own_here:Net").__module__ == "own_here"
    assert resolve_function("own_here:half", "optimizer.lr.lr_lambda")(1) == 0.5


@pytest.mark.parametrize(
    "kind", ["model", "data", "loss", "metric", "optimizer", "lr", "clip", "callback", "transform"]
)
def test_what_is_not_the_users_own_is_refused_in_every_section(own: Path, kind: str) -> None:
    for name, reason in REFUSED.items():
        with pytest.raises(ConfigError) as refused:
            build(kind, name, {})
        told = str(refused.value)
        assert reason in told or (kind != "model" and "expected a subclass" in told), name
    assert "antigravity" not in sys.modules
    assert not (own / "MARKER").exists()


@pytest.mark.parametrize("name", ["system", "load", "shorter", "JSONDecoder", "np"])
def test_a_function_that_the_module_only_imports_is_refused(own: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"not yours|expected a function"):
        resolve_function(f"own_here:{name}", "optimizer.lr.lr_lambda")


def test_a_module_beside_the_config_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project / "nets_here", elsewhere):
        folder.mkdir(parents=True)
    (project / "nets_here" / "small.py").write_text(OWN)
    config = project / "c.yaml"
    config.write_text('run: {name: x}\nmodel: {name: "nets_here.small:Net", width: 4}\n')
    monkeypatch.chdir(elsewhere)
    forget(monkeypatch)
    with pytest.raises(ConfigError, match="No module named 'nets_here'"):
        resolve("model", "nets_here.small:Net")
    assert type(build_model(load_config(config))).__module__ == "nets_here.small"


def test_the_users_word_reaches_the_names_of_that_config_only(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = own / "c.yaml"
    config.write_text('run: {name: x}\nmodel: {name: "own_here:Other"}\n')
    with pytest.raises(ConfigError, match="not yours"):
        check_components(load_config(config))
    load_config(config, trust=True)
    assert resolve("model", "own_here:Other").__name__ == "ResNet"
    with pytest.raises(ConfigError, match="was not imported: paddle"):
        resolve("model", "paddle.vision.models.resnet:ResNet")
    monkeypatch.setenv(trust.VARIABLE, "1")
    assert resolve("model", "paddle.vision.models.resnet:ResNet").__name__ == "ResNet"
    monkeypatch.setenv(trust.VARIABLE, "yes")
    with pytest.raises(ConfigError, match="PADDLE_RESUME_TRUST is 'yes'; expected 1"):
        resolve("model", "paddle.vision.models.resnet:ResNet")


def test_a_module_that_another_hides_is_told_of(own: Path) -> None:
    (own / "colorsys.py").write_text(OWN)
    with pytest.raises(ConfigError, match=r"colorsys is a part of Python.*Yours of that name, .*colorsys.py"):
        resolve("model", "colorsys:Net")


def test_what_paddle_would_fetch_and_unpickle_needs_a_word(own: Path) -> None:
    for name in ("resnet18", "paddle.vision.models:resnet18"):
        with pytest.raises(ConfigError, match=r"model.pretrained: Paddle fetches a file .* --weights FILE"):
            build("model", name, {"pretrained": True})
    with pytest.raises(ConfigError, match="Flowers is not built from a config: it unpacks"):
        build("data", "Flowers", {"data_file": "x.tgz", "label_file": "y", "setid_file": "z"})


def test_nothing_is_imported_for_a_callback_of_a_record(own: Path) -> None:
    assert only_watches("own_here:Watcher")
    assert not only_watches("own_here:Meddler")
    assert not only_watches("own_here:Missing")
    assert not only_watches("os:system")
    assert not says_of_itself("nowhere_here:Watcher", "only_watches")
    assert "own_here" not in sys.modules
    assert resolve("callback", "own_here:Watcher") is sys.modules["own_here"].Watcher
    assert only_watches("own_here:Watcher")


def test_the_flag_reaches_a_command_and_its_children(own: Path) -> None:
    config = own / "c.yaml"
    config.write_text('run: {name: x}\nmodel: {name: "paddle.vision.models.lenet:LeNet"}\n')
    environment = {key: value for key, value in os.environ.items() if key != trust.VARIABLE}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "paddle_resume", "inspect", "-c", "c.yaml", "--shape", "1,28,28"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=own)
    assert (refused.returncode, "is a part of Paddle" in refused.stderr) == (2, True), refused.stderr
    taken = subprocess.run([*command, "--trust-config"], env=environment, capture_output=True, text=True, cwd=own)
    assert taken.returncode == 0, taken.stderr
