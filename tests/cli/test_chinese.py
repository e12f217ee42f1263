"""The command line in Chinese: help, mistakes, errors; and a run begun in one language goes on in the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paddle
import pytest

from paddle_resume import set_language
from paddle_resume.cli import main

CONFIG = """
run: {{name: tiny, save_dir: ck, log_dir: log}}
model: {{name: MLP, hidden: 8}}
data: {{name: mnist, root: {root}, global_batch_size: 10}}
optimizer: {{name: Adam, lr: 0.01}}
trainer: {{epochs: 4, max_steps: {steps}, log_every: 2}}
checkpoint: {{every_steps: 2, every_epochs: 1, keep: 4}}
"""


def load_arrays(path: Path) -> dict[str, bytes]:
    """By name; the rest of the file counts the layers that this process has made before."""
    loaded = paddle.load(str(path), return_numpy=True)
    return {name: value.tobytes() for name, value in loaded.items() if hasattr(value, "tobytes")}


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    set_language("en")


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lang", "zh", "train", "--help"),
        ("train", "--lang", "zh", "--help"),
        ("train", "--help", "--lang", "zh"),
        ("train", "--help", "--lang=zh_CN"),
        ("wrap", "--lang", "zh", "--help"),
    ],
)
def test_help_is_in_chinese_wherever_lang_stands(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 0
    said = capsys.readouterr().out
    assert "用法:" in said and "选项" in said and "示例:" in said and "显示此帮助后退出" in said
    assert "Usage" not in said and "Options" not in said and "…" not in said


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "-h"), ("run", "--help"), ("eval", "--help", "--lang=zh")]
)
def test_help_waits_for_no_pydantic_and_reads_as_on_the_long_way(arguments: tuple[str, ...]) -> None:
    """Typer loads it to look at the values of options: a tenth of a second, for which there is nothing to see."""
    program = (
        "import sys; from paddle_resume.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "print(code, *(name for name in ('pydantic', 'paddle', 'numpy') if name in sys.modules))"
    )
    place = 1 if len(arguments) > 1 else 0
    longer = [*arguments[:place], "--lang", "zh", *arguments[place:]]
    said = [
        subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True).stdout
        for words in (["--lang", "zh", *arguments], longer)
    ]
    assert said[0] == said[1] and said[0].endswith("0\n") and "用法:" in said[0]


def test_help_behind_other_options_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for words in (("train", "--help"), ("train", "-c", "mnist", "--help")):
        assert call(*words) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "Usage: " in said[0]


def test_the_help_of_the_program_is_in_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help", "--lang", "zh") == 0
    said = capsys.readouterr().out
    assert "检查点" in said and "打印检查点权重的指标" in said and "退出码" in said


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("trian",), "没有命令 'trian'"),
        (("train",), "缺少选项"),
        (("train", "--epochs", "3"), "没有这个选项：--epochs"),
        (("prove", "-c", "mnist", "--kills", "many"), "--kills"),
        (("train", "-c", "nowhere"), "本包没有配置"),
        (("train", "-c", "mnist", "-o", "trainer.epoch=3"), "不是已知的键"),
        (("--lang", "zh", "list", "nowhere"), "请给一个训练的检查点文件夹"),
    ],
)
def test_a_mistake_is_told_in_chinese(
    arguments: tuple[str, ...], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_language("zh")
    assert call(*arguments) == 2
    assert found in capsys.readouterr().err


def test_another_language_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--lang", "fr", "doctor") == 2
    assert "--lang: There are no messages in 'fr'; expected one of en, zh." in capsys.readouterr().err


def test_the_lang_of_a_program_that_is_run_is_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--", sys.executable, "-c", "import sys; print(sys.argv)", "--lang", "fr") == 0
    assert "['-c', '--lang', 'fr']" in capfd.readouterr().out


def test_what_programs_read_stays_english(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--lang", "zh", "doctor", str(tmp_path), "--json") == 0
    said = capsys.readouterr().out
    assert json.loads(said) and said.isascii()


def test_a_run_begun_in_one_language_goes_on_exactly_in_the_other(
    tmp_path: Path, tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped by itself at step 6 in Chinese, made longer in English; against one that was English throughout."""
    folders = [tmp_path / "mixed", tmp_path / "straight"]
    for folder, lives in zip(folders, ([("zh", 6), ("en", 12)], [("en", 12)])):
        folder.mkdir()
        monkeypatch.chdir(folder)
        for spoken, steps in lives:
            (folder / "c.yaml").write_text(CONFIG.format(root=tiny_mnist, steps=steps))
            assert call("train", "--lang", spoken, "-c", "c.yaml") == 0
            assert ("环境:" in capsys.readouterr().out) == (spoken == "zh")
    mixed, straight = folders
    weights = [load_arrays(folder / "tiny.pdparams") for folder in folders]
    assert weights[0] == weights[1] and len(weights[0]) >= 2
    records = [(folder / "ck" / "tiny_step12.pdstates").read_text(encoding="utf-8") for folder in folders]
    assert all(record.isascii() for record in records)
    assert len(json.loads(records[0])["lineage"]) == 2
    for file in mixed.rglob("*.jsonl"):
        lines = [
            [{key: value for key, value in json.loads(line).items() if key != "time"} for line in text.splitlines()]
            for text in (file.read_text(), (straight / file.relative_to(mixed)).read_text())
        ]
        assert lines[0] == lines[1]
