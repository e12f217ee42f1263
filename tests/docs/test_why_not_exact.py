"""docs/why-not-exact.md: each line that it explains is provoked on a real run, and no line is explained that is not."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from places import ROOT

from paddle_resume.cli import main

PAGE = (ROOT / "docs" / "why-not-exact.md").read_text(encoding="utf-8")
CONFIG = """
run: {name: tiny, save_dir: ck, log_dir: log}
model: {name: MLP, hidden: 8}
data: {name: mnist, root: mnist, global_batch_size: 10}
optimizer: {name: Adam, lr: {name: StepDecay, learning_rate: 0.01, step_size: 4}}
trainer: {epochs: 4, max_steps: 4, log_every: 2, ema: {decay: 0.9}}
best: {monitor: valid/acc}
checkpoint: {every_steps: 2, every_epochs: null, keep: 4}
"""
CALLBACK = """
from paddle_resume import Callback

class Counter(Callback):
    def state_dict(self):
        return {"count": 1}

    def set_state_dict(self, state):
        pass
"""
JSONL = Path("log", "tiny", "metrics.jsonl")


def other_pixels() -> None:
    shutil.copytree("mnist", "mnist2")
    images = Path("mnist2", "train-images-idx3-ubyte")
    changed = bytearray(images.read_bytes())
    changed[50] ^= 1
    images.write_bytes(changed)


def shorter() -> None:
    os.truncate(JSONL, 100)


def another_runs() -> None:
    JSONL.write_bytes(b"x" * JSONL.stat().st_size)


# What is done before, the arguments of the command, and the lines of the page that it gives.
CASES: list[tuple[Callable[[], None] | None, list[str], list[str]]] = [
    (None, ["model.hidden=9"], ["model.hidden: 8 -> 9"]),
    (None, ["model.name=LeNet"], ["model.name: MLP -> LeNet"]),
    (
        None,
        ["optimizer.lr.step_size=3"],
        ["optimizer.lr.step_size: 4 -> 3"],
    ),
    (None, ["optimizer.lr=0.01"], ["optimizer.lr: {name: StepDecay, learning_rate: 0.01, step_size: 4} -> 0.01"]),
    (None, ["optimizer.lr.interval=epoch"], ["optimizer.lr.interval: step -> epoch"]),
    (None, ["optimizer.lr.warmup.steps=2"], ["optimizer.lr.warmup: null -> {steps: 2}"]),
    (None, ["optimizer.beta1=0.5"], ["optimizer.beta1: (absent) -> 0.5"]),
    (
        None,
        ["optimizer.clip.name=ClipGradByGlobalNorm", "optimizer.clip.clip_norm=1.0"],
        ["optimizer.clip: null -> {name: ClipGradByGlobalNorm, clip_norm: 1.0}"],
    ),
    (
        None,
        ["optimizer.no_weight_decay=['*.bias']", "optimizer.weight_decay=0.01"],
        [
            "optimizer.no_weight_decay: [] -> ['*.bias']",
        ],
    ),
    (None, ["optimizer.name=SGD"], ["optimizer.name: Adam -> SGD"]),
    (
        None,
        ["trainer.accumulate_steps=2"],
        ["trainer.accumulate_steps: 1 -> 2"],
    ),
    (
        None,
        ["trainer.amp=O1"],
        ["trainer.amp: null -> O1"],
    ),
    (None, ["trainer.ema.decay=0.5"], ["trainer.ema.decay: 0.9 -> 0.5"]),
    (None, ["trainer.ema=null"], ["trainer.ema: {decay: 0.9} -> null"]),
    (None, ["trainer.on_nan=skip"], ["on_nan policy: stop -> skip"]),
    (None, ["trainer.evaluate_every=2"], ["trainer.evaluate_every: null -> 2"]),
    (None, ["best.min_delta=0.1"], ["best.min_delta: 0.0 -> 0.1"]),
    (None, ["best=null"], ["best: {} -> null"]),
    (
        None,
        ["metrics=[{name: TopK, k: 2}, {name: Accuracy}]"],
        ["metrics: Accuracy 0123456789abcdef -> TopK 0123456789abcdef, Accuracy 0123456789abcdef"],
    ),
    (None, ["data.global_batch_size=20"], ["data.global_batch_size: 10 -> 20"]),
    (None, ["run.seed=3"], ["run.seed: 1024 -> 3"]),
    (None, ["data.shuffle=false"], ["data.shuffle: true -> false"]),
    (None, ["data.drop_last=true"], ["data.drop_last: false -> true"]),
    (None, ["data.valid=12"], ["data.valid: auto -> 12"]),
    (None, ["data.name=fashion_mnist"], ["data.name: mnist -> fashion_mnist"]),
    (other_pixels, ["data.root=mnist2"], ["data digest: 0123456789abcdef -> 0123456789abcdef"]),
    (
        lambda: Path("mine.py").write_text(CALLBACK) and None,
        ["callbacks=[{name: 'mine:Counter'}]"],
        ["callbacks: [] -> [{name: 'mine:Counter'}]"],
    ),
]
IN_ANOTHER_PROCESS = ["environment OMP_NUM_THREADS: 2 -> 1", "environment MKL_CBWR: None -> COMPATIBLE"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_mnist: Path) -> Path:
    """A folder with c.yaml, its data, and a run of it."""
    folder = tmp_path_factory.mktemp("why")
    shutil.copytree(tiny_mnist, folder / "mnist")
    (folder / "c.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as end:
            main(["train", "-c", "c.yaml", "-q"])
    assert end.value.code == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def without_figures(text: str) -> str:
    """Without digests, and the lengths and ends of logs, which depend on the versions of what writes them."""
    text = re.sub(r"\b[0-9a-f]{16}([0-9a-f]{16})?\b", "DIGEST", text)
    return re.sub(r"\b\d+( bytes)|(at byte) \d+|(ends at) \d+", r"\2\3 N\1", text)


def lines_of_the_page() -> list[tuple[str, str]]:
    """The first cell of each row that is a line of the error, and its cause."""
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|", PAGE, re.MULTILINE)
    return [(line, cause) for line, cause in rows if " -> " in line]


def printed_lines(error: str) -> list[str]:
    assert " would not continue bit for bit" in error, error
    listed = error.split("these changed:\n", 1)[1].splitlines()
    return [without_figures(line[2:]) for line in itertools.takewhile(lambda line: line.startswith("  "), listed)]


def explained(error: str) -> list[str]:
    """The lines without where their values are set."""
    return [re.sub(r" \(set by [^;]*\)$", "", line) for line in printed_lines(error)]


def checkpoints() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("ck").glob("tiny_*")}


@pytest.mark.parametrize(("before", "arguments", "lines"), CASES, ids=[case[2][0][:40] for case in CASES])
def test_a_line_of_the_page_is_what_the_command_prints(
    before: Callable[[], None] | None,
    arguments: list[str],
    lines: list[str],
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if before is not None:
        before()
    command = ["train", "-c", "c.yaml", "-q"]
    for argument in arguments:
        command += ["-o", argument] if "=" in argument else [argument]
    saved = checkpoints()
    with pytest.raises(SystemExit) as end:
        main(command)
    printed = explained(capsys.readouterr().err)
    assert end.value.code == 2
    assert [line for line in lines if without_figures(line) not in printed] == [], printed
    assert checkpoints() == saved


def test_the_lines_of_the_environment_are_what_another_process_prints(here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "3", "MKL_CBWR": "COMPATIBLE"}
    command = [sys.executable, "-m", "paddle_resume", "train", "-c", "c.yaml", "-q"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    printed = [re.sub(r": \S+ -> \S+", "", line) for line in explained(ended.stderr)]
    assert [line for line in IN_ANOTHER_PROCESS if re.sub(r": \S+ -> \S+", "", line) not in printed] == []


def test_every_line_of_the_page_is_provoked_or_marked() -> None:
    provoked = {line for _, _, lines in CASES for line in lines} | set(IN_ANOTHER_PROCESS)
    on_the_page = lines_of_the_page()
    assert len(on_the_page) > 40
    assert sorted(line for line, cause in on_the_page if "not provoked by a test" not in cause) == sorted(provoked)


def test_a_line_ends_with_where_its_value_is_set_as_the_page_says(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "-c", "c.yaml", "-q", "-o", "trainer.on_nan=skip"])
    (line,) = [line for line in printed_lines(capsys.readouterr().err) if "set by" in line]
    assert f"```text\n{line}\n```" in PAGE
