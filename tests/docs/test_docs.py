"""The documentation: its examples run, its links lead somewhere, its two languages say the same."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import forking
import paddle
import pytest
from places import ROOT

PAGES = (
    "README.md",
    "docs/quick-start.md",
    "docs/first-hour.md",
    "docs/recipes.md",
    "docs/trainer.md",
    "docs/features.md",
    "docs/data.md",
    "docs/metrics.md",
    "docs/optimizers.md",
    "docs/learning-rates.md",
    "docs/longer-run.md",
    "docs/looking-inside.md",
    "docs/engine.md",
    "docs/hapi.md",
    "docs/checkpoint-format.md",
    "docs/toolbox.md",
    "docs/parallel.md",
    "docs/elastic.md",
    "docs/model-parallel.md",
    "docs/clusters.md",
    "docs/from-pytorch.md",
)
# Pages that need no run to look at.
ALONE = (
    "docs/first-hour.md",
    "docs/longer-run.md",
    "docs/recipes.md",
    "docs/trainer.md",
    "docs/data.md",
    "docs/looking-inside.md",
    "docs/clusters.md",
    "docs/from-pytorch.md",
    "docs/parallel.md",
    "docs/elastic.md",
    "docs/model-parallel.md",
    "docs/hapi.md",
)
LANGUAGES = (
    ("README.md", "README_cn.md"),
    ("docs/quick-start.md", "docs/zh/quick-start.md"),
    ("docs/suites.md", "docs/zh/suites.md"),
    ("docs/trainer.md", "docs/zh/trainer.md"),
    ("docs/data.md", "docs/zh/data.md"),
    ("docs/hapi.md", "docs/zh/hapi.md"),
)
# The folder in which a reader has just run the first command of the README, at a thousandth of the size.
TRAINED = """
from paddle_resume import Trainer, seed_everything
import numpy as np
import paddle
from paddle_resume.data import ImageArrays
from paddle_resume.models import MNIST

seed_everything(0)
images = np.random.RandomState(0).randint(0, 256, (32, 28, 28)).astype("uint8")
data = ImageArrays(images, np.arange(32) % 10, num_classes=10)
model = MNIST()
rate = paddle.optimizer.lr.PolynomialDecay(0.01, decay_steps=3, end_lr=0.001)
optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters())
Trainer(model, optimizer, loss=paddle.nn.CrossEntropyLoss(), name="mnist").train(data, epochs=3)
"""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\w+\.(?:py|yaml))\n")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of every fenced block."""
    return _BLOCK.findall(text)


def _prose(text: str) -> str:
    return _BLOCK.sub("", text)


def _headings(text: str) -> list[str]:
    return re.findall(r"^#+ .+$", _prose(text), re.MULTILINE)


def _run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(folder)])
    result = forking.run(arguments, folder, PYTHONPATH=path, CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result


def _prepare(page: str, folder: Path) -> Path:
    """Train for the page's examples and write the files it shows; returns the script of its other blocks."""
    if page not in ALONE:
        (folder / "trained.py").write_text(TRAINED, encoding="utf-8")
        _run(["trained.py"], folder)
    script = []
    for language, code in _blocks(_text(page)):
        name = _FILE_NAME.match(code)
        if name:
            (folder / name[1]).write_text(code, encoding="utf-8")
        elif language == "python":
            script.append(code)
    assert script, f"{page} has no example"
    path = folder / "examples.py"
    path.write_text("\n".join(script), encoding="utf-8")
    return path


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_a_page_runs(page: str, tmp_path: Path) -> None:
    if page == "docs/model-parallel.md" and paddle.__version__.startswith("2."):
        pytest.skip("a mesh needs Paddle 3")
    _run([str(_prepare(page, tmp_path))], tmp_path)


def test_the_config_with_a_model_and_data_by_import_path_trains(tmp_path: Path) -> None:
    _prepare("README.md", tmp_path)
    command = [str(ROOT / "tools" / "train.py"), "-c", "points.yaml", "-o", "trainer.epochs=1"]
    assert "[test] epoch: 0" in _run(command, tmp_path).stdout
    assert "This run is complete" in _run(command, tmp_path).stdout


@pytest.mark.parametrize(("english", "chinese"), LANGUAGES)
def test_both_languages_have_the_same_sections(english: str, chinese: str) -> None:
    assert [h.split()[0] for h in _headings(_text(english))] == [h.split()[0] for h in _headings(_text(chinese))]


@pytest.mark.parametrize(("english", "chinese"), LANGUAGES)
def test_both_languages_show_the_same_code(english: str, chinese: str) -> None:
    def without_comments(page: str) -> list[tuple[str, str]]:
        return [(language, re.sub(r"[ ]*#.*", "", code)) for language, code in _blocks(_text(page))]

    assert without_comments(english) == without_comments(chinese)


def test_both_languages_of_the_readme_link_to_the_same_pages() -> None:
    """Where a page is there in Chinese, the Chinese README links that one; of pages for its readers alone, two more."""

    def targets(page: str) -> list[str]:
        return [link for link in _LINK.findall(_prose(_text(page))) if not link.startswith("README")]

    chinese = [link for link in targets("README_cn.md") if link not in ("docs/zh/errors.md", "docs/zh/windows.md")]
    english = [link for link in targets("README.md") if link not in ("docs/errors.md", "docs/windows.md")]
    assert chinese == [_in_chinese(link) for link in english]


def _in_chinese(link: str) -> str:
    there = link.replace("docs/", "docs/zh/", 1)
    return there if (ROOT / there).is_file() else link


def _pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in _pages()])
def test_relative_links_lead_to_a_file_and_a_heading(page: str) -> None:
    for link in _LINK.findall(_prose(_text(page))):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page} links to {link}, which is not there"
        if anchor:
            anchors = [_anchor(heading) for heading in _headings(path.read_text(encoding="utf-8"))]
            assert anchor in anchors, f"{page} links to {link}; {target} has {anchors}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"([\w/-]+\.md)$", navigation, re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in _pages() if (ROOT / "docs") in page.parents]
    assert sorted(named) == sorted({*pages, "index.md", "zh/index.md", "CHANGELOG.md", "CONTRIBUTING.md"})


def test_every_dependency_is_explained() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = setup["options.extras_require"]
    lines = "\n".join(setup.get(section, key, raw=True) for section, key in _requirement_keys(extras)).split("\n")
    names = {re.split(r"[<>=!~;\[ ]", line.strip())[0] for line in lines if line.strip() and "%(" not in line}
    assert len(names) > 10
    unexplained = sorted(name for name in names if f"| `{name}` |" not in _text("docs/dependencies.md"))
    assert not unexplained


def _requirement_keys(extras: configparser.SectionProxy) -> list[tuple[str, str]]:
    return [("options", "install_requires"), *(("options.extras_require", key) for key in extras)]
