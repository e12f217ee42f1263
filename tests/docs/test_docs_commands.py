"""The commands and configs that the pages show: each command is taken apart or run, each config is checked."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image
from test_docs import ROOT, _blocks, _pages, _text

from paddle_resume.cli import main
from paddle_resume.cli.app import app
from paddle_resume.config import load_config

PAGES = [str(page.relative_to(ROOT)) for page in _pages()]
# Their code is that of the English page, as test_docs.py sees to.
TRANSLATED = ("README_cn.md", "docs/zh/")
# How the commands begin that are not ours, and why nobody runs them here.
OTHERS = {
    "pip install": ".ci/run installs as the pages say",
    "pytest": "these are the tests",
    ".ci/pythons": "a step of .ci/run",
    ".ci/suites": "a step of .ci/run",
    "ruff": "lint is a step of .ci/run",
    "mypy": "types are a step of .ci/run",
    "lint-imports": "test_architecture.py runs it",
    "visualdl": "test_visualdl_page.py runs the server and looks at its page",
    "mail": "what to do about damage is the reader's",
    "python -m paddle.distributed.launch": "several processes: test_sharded.py starts them",
}
# Commands of ours that are taken apart, but not run here, and why.
NOT_RUN = {
    "paddle-resume wrap": "it becomes the program that it runs: test_suites_page.py",
    "python tools/run.py": "it stays for as long as the training does: test_supervision.py",
    "python tools/prove.py": "it takes minutes: .ci/run",
    "paddle-resume prove": "it takes minutes: .ci/run",
    "python tools/merge.py": "it needs shards of several processes: test_sharded.py",
    "python tools/train.py -c configs/text.yaml": "minutes, or the reader's files: test_language_model.py",
    "python tools/train.py -c configs/image_folder.yaml": "a ResNet takes its time: test_data_images.py",
    "python tools/generate.py": "it needs what that has trained: test_language_model.py",
    "python tools/convert.py net.pth": "it needs a file of torch's: test_convert_torch.py",
    "python tools/train.py -c configs/mnist.yaml -o model.name=LeNet": "it needs what that has written",
    "python tools/export.py -c configs/mnist.yaml --weights checkpoint/mnist_epoch2 --format onnx": "needs paddle2onnx",
    "python tools/predict.py export/mnist.onnx": "it needs what that has written",
}
# How one ends that has something to tell, in place of 0.
ENDS = {"paddle-resume diff": 1}
# YAML that is no config.
NO_CONFIG = {"docs/from-pytorch.md": "the map of names for a conversion"}


def commands(page: str) -> list[str]:
    """The single commands of the page's bash blocks, and those after a `$` in what a terminal shows."""
    lines: list[str] = []
    for language, code in _blocks(_text(page)):
        code = code.replace("\\\n", " ")
        if language == "bash":
            lines += code.splitlines()
        elif language == "text":
            lines += re.findall(r"^\$ (.+)$", code, re.MULTILINE)
    parts = [part for line in lines for part in re.split(r"&&|\|\|", re.sub(r"(^|\s+)#.*", "", line))]
    return [part.strip() for part in parts if part.strip()]


def words(command: str) -> list[str] | None:
    """The words of a command line of ours, `train -c ...`; None for a program of another's."""
    given = shlex.split(re.sub(r"\s*[<>]\s*\S+", "", command))
    if given[0] == "paddle-resume":
        return given[1:]
    if given[0] == "python" and given[1].startswith("tools/"):
        door = re.search(r"main\(\[?(?:\"([\w-]+)\", )?\*?sys.argv", (ROOT / given[1]).read_text(encoding="utf-8"))
        assert door, f"{given[1]} is no thin door"
        return [*([door[1]] if door[1] else []), *given[2:]]
    return None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_exists_with_its_options(page: str) -> None:
    known = typer.main.get_command(app)
    for command in commands(page):
        given = words(command)
        if given is None:
            assert command.startswith(tuple(OTHERS)), f"{page}: nobody knows {command}"
        else:
            assert given[0] in known.commands, f"{page}: {command}"  # type: ignore[attr-defined]
            known.commands[given[0]].make_context(given[0], given[1:])  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_only_named_exists_too(page: str) -> None:
    known = typer.main.get_command(app)
    for name in re.findall(r"`(?:\$ )?paddle-resume ([a-z][\w-]*)", _text(page)):
        assert name in known.commands, f"{page}: paddle-resume {name}"  # type: ignore[attr-defined]
    for name in re.findall(r"\btools/(\w+)\.py\b", _text(page)):
        assert (ROOT / "tools" / f"{name}.py").exists(), f"{page}: tools/{name}.py"


def runnable(page: str) -> list[str]:
    ours = [command for command in commands(page) if words(command) is not None]
    return [command for command in ours if not command.startswith(tuple(NOT_RUN))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_mnist: Path) -> Path:
    """The folder of a reader who has run the README's first command, on tiny data, and has files to try things on."""
    folder = tmp_path_factory.mktemp("reader")
    random = np.random.default_rng(0)
    digit = random.integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(digit).save(folder / "digit.png")
    (folder / "more_digits").mkdir()
    Image.fromarray(digit.T.copy()).save(folder / "more_digits" / "1.png")
    for name in ("images-idx3", "labels-idx1"):
        shutil.copy(tiny_mnist / f"t10k-{name}-ubyte", folder / f"t10k-{name}-ubyte.gz")
    (folder / "data").mkdir()
    (folder / "data" / "mnist").symlink_to(tiny_mnist)
    for name in ("configs", "tools"):
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        _enter(folder, patch)
        _run("python tools/train.py -c configs/mnist.yaml")
        _run("python tools/train.py -c configs/mnist_mlp.yaml")
        _run("python tools/export.py -c configs/mnist.yaml --weights checkpoint/mnist_epoch2")
    (folder / "pretrained").mkdir()
    shutil.copy(folder / "mnist.pdparams", folder / "pretrained")
    (folder / "old").mkdir()
    for suffix in (".pdparams", ".pdopt"):
        shutil.copy(folder / "checkpoint" / f"mnist_epoch2{suffix}", folder / "old" / f"mnist_epoch3{suffix}")
    return folder


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    patch.setenv("PADDLE_RESUME_DATA", str(folder / "data"))


def _run(command: str) -> None:
    given = words(command)
    assert given is not None
    code = 0
    try:
        main(given)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == next((code for start, code in ENDS.items() if command.startswith(start)), 0), command


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page) and not page.startswith(TRANSLATED)])
def test_the_commands_of_a_page_run(
    page: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(trained, folder, symlinks=True)
    _enter(folder, monkeypatch)
    for _, code in _blocks(_text(page)):
        name = re.match(r"# (\w+\.(?:py|yaml))\n", code)
        if name:
            Path(name[1]).write_text(code, encoding="utf-8")
    for command in runnable(page):
        _run(command)


@pytest.mark.parametrize("page", [page for page in PAGES if "```yaml" in _text(page)])
def test_every_config_of_a_page_is_one(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that is part of a config is laid over the least that a config needs."""
    if page in NO_CONFIG:
        pytest.skip(NO_CONFIG[page])
    shutil.copytree(ROOT / "configs", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("least.yaml").write_text("run: {name: least}\nmodel: {name: MNIST}\n")
    blocks = [code for language, code in _blocks(_text(page)) if language == "yaml"]
    for code in blocks:
        name = re.match(r"# (\w+\.yaml)\n", code)
        if name:
            Path(name[1]).write_text(code, encoding="utf-8")
    for number, code in enumerate(blocks):
        above = "optimizer:\n" if code.startswith("  lr:") else ""
        Path(f"{number}.yaml").write_text(above + code, encoding="utf-8")
        Path("whole.yaml").write_text(f"_base_: [least.yaml, {number}.yaml]\n")
        load_config("whole.yaml")


def test_what_is_not_run_is_still_on_a_page() -> None:
    shown = [command for page in PAGES for command in commands(page)]
    assert [start for start in (*OTHERS, *NOT_RUN) if not any(command.startswith(start) for command in shown)] == []
