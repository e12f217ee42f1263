"""The configs that come with the package: found by their bare names, listed, and the same files as in `configs/`."""

from __future__ import annotations

import configparser
import copy
import json
import re
from pathlib import Path
from typing import Any

import forking
import pytest
from places import ROOT

from paddle_resume.cli import main
from paddle_resume.config import load_config, trajectory_differences
from paddle_resume.config.shipped import FOLDER, find_config, shipped_configs
from paddle_resume.errors import ConfigError
from paddle_resume.toolbox.config_page import config_page

NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_there_is_one_copy_of_them_and_a_wheel_takes_all() -> None:
    assert FOLDER.resolve() == ROOT / "configs"
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert "configs/*.yaml" in setup["options.package_data"]["paddle_resume"].split()
    assert {path.suffix for path in FOLDER.iterdir()} == {".yaml"}


@pytest.mark.parametrize("name", NAMES)
def test_a_bare_name_is_the_config_of_the_package(name: str) -> None:
    assert load_config(name) == load_config(ROOT / "configs" / f"{name}.yaml")


def test_a_file_of_that_name_wins() -> None:
    Path("mnist").write_text("run: {name: mine}\nmodel: {name: LeNet}\n")
    assert load_config("mnist").run.name == "mine"
    assert load_config("./mnist").run.name == "mine"


@pytest.mark.parametrize("name", ["mnist.yaml", "./mnist", "configs/mnist", "", ".", "../mnist"])
def test_a_path_or_a_suffix_is_never_looked_for_in_the_package(name: str) -> None:
    with pytest.raises(ConfigError, match="no such config file|a folder"):
        load_config(name)


def test_an_unknown_name_lists_them_and_offers_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        find_config("mnits")
    assert str(error.value) == (
        f"mnits: no such file. The package has no config mnits. Did you mean mnist? It has: {', '.join(NAMES)}."
    )


def test_a_base_may_be_a_bare_name_too_and_an_unknown_one_is_told_with_its_line() -> None:
    Path("mine.yaml").write_text("_base_: mnist\nrun: {name: mine}\n")
    config = load_config("mine.yaml")
    assert (config.run.name, config.optimizer) == ("mine", load_config("mnist").optimizer)
    Path("mine.yaml").write_text("run: {name: mine}\n_base_: mnits\n")
    with pytest.raises(ConfigError, match=r"^mine\.yaml:2: _base_ names mnits: no such file\. .* Did you mean mnist\?"):
        load_config("mine.yaml")


def test_the_command_lists_them_with_what_they_train(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("configs") == 0
    printed = capsys.readouterr().out
    assert all(f" {one.name} " in printed and one.purpose and one.purpose in printed for one in shipped_configs())
    assert run("configs", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == NAMES


def test_the_command_prints_one_of_them_as_a_file_to_begin_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("configs", "mnist") == 0
    assert capsys.readouterr().out == (ROOT / "configs" / "mnist.yaml").read_text(encoding="utf-8")
    assert run("configs", "mnits") == 2
    assert capsys.readouterr().err.startswith("error: The package has no config mnits. Did you mean mnist? It has: ")


def test_a_bare_name_trains_away_from_the_checkout(tiny_mnist: Path) -> None:
    command = ["-m", "paddle_resume", "train", "-c", "mnist", "-o", f"data.root={tiny_mnist}"]
    ended = forking.run([*command, "-o", "trainer.epochs=1"])
    assert ended.returncode == 0, ended.stderr
    assert Path("checkpoint", "mnist_epoch0.pdstates").exists()


def test_the_page_of_all_keys_is_made_from_the_code() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert page == config_page(), "make it anew: paddle-resume schema --page > docs/config.md"


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def test_the_page_says_no_of_just_the_keys_that_may_change_freely() -> None:
    """Held against the comparison itself: each number and switch is changed, and is a difference or is none."""
    config = load_config("reference", ["trainer.ema.decay=0.9", "best.patience=3"]).to_dict()
    rows = re.findall(r"^(?:## (.+)|\| `(\w+)` \| .* \| (yes|no) \| .*)$", config_page(), re.MULTILINE)
    path, looked_at = "", 0
    for heading, key, alters in rows:
        path = heading or path
        changed = copy.deepcopy(config)
        section = _at(changed, path)
        if heading or not isinstance(section, dict) or not isinstance(section[key], (int, float)):
            continue
        section[key] = not section[key] if isinstance(section[key], bool) else section[key] + 1
        looked_at += 1
        assert bool(trajectory_differences(config, changed)) == (alters == "yes"), f"{path}.{key}"
    assert looked_at > 15
