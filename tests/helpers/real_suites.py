"""Trains with the real suites, straight, wrapped and interrupted: installed ones, and checkouts that variables name."""

from __future__ import annotations

import importlib.util
import os
import string
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

_HELPERS = Path(__file__).parent
_CONFIGS = _HELPERS.parent / "data" / "suites"
_CHECKOUT = _HELPERS.parent.parent
_SECONDS = 300
# One thread, no oneDNN, one hash of each string, so that the suites themselves repeat a run bit for bit.
_PINNED = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    "CPU_NUM": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "FLAGS_use_mkldnn": "0",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",
}
AFTER_SAVE = 0.05
"""Seconds from when a checkpoint is seen to the signal: the program is in another step by then."""


@dataclass(frozen=True)
class Suite:
    """One training.

    Args:
        needs: the package that has to be installed; or the variable that names a checkout, in capitals.
        config: the file in tests/data/suites that it is configured by.
        arguments: makes its command line, without Python, of the checkout, the config's path and the folder to write
            to.
        search: whether the suite itself is to be found in its checkout by PYTHONPATH.
        holds: what its checkout is known by.
        workers: how many processes make its data.
        every_steps: how often it is saved when wrapped.
        interrupted_from: the steps from whose checkpoints on it gets SIGKILL and SIGTERM.
    """

    needs: str
    config: str
    arguments: Callable[[Path, Path, str], Sequence[object]]
    search: bool = False
    holds: str = "tools/train.py"
    workers: int = 0
    every_steps: int = 4
    interrupted_from: tuple[int, int] = (8, 12)

    @property
    def missing(self) -> str:
        """Why it cannot be tried here; empty if it can."""
        if self.needs.isupper():
            checkout = os.environ.get(self.needs, "")
            there = checkout and (Path(checkout) / self.holds).exists()
            return "" if there else f"{self.needs} names no checkout with {self.holds}"
        return "" if importlib.util.find_spec(self.needs) else f"{self.needs} is not installed"

    @property
    def checkout(self) -> Path:
        return Path(os.environ.get(self.needs, "")).resolve()

    def command(self, data: Path) -> list[str]:
        """The command line, without Python; `data` is the folder of suite_pictures."""
        config = data / self.config
        if self.config:
            text = string.Template((_CONFIGS / self.config).read_text())
            config.write_text(text.substitute(data=data, suite=self.checkout, workers=self.workers))
        return [str(each) for each in self.arguments(self.checkout, config, "out")]

    @property
    def environment(self) -> dict[str, str]:
        paths = [str(_CHECKOUT), *([str(self.checkout)] if self.search else []), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, **_PINNED, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _own(name: str) -> Path:
    return _HELPERS / "programs" / "suites" / f"{name}.py"


def _detection_of_wheel(_: Path, config: Path, out: str) -> Sequence[object]:
    return [_own("train_detection"), config, out]


def _detection(suite: Path, config: Path, out: str, *more: object) -> Sequence[object]:
    curves = ["--use_vdl", "True", "--vdl_log_dir", out]
    settings = ["-o", f"save_dir={out}", f"output_eval={out}"]
    return [suite / "tools" / "train.py", "-c", config, "--enable_ce", "True", "--eval", *curves, *more, *settings]


def _segmentation(suite: Path, config: Path, out: str, *more: object) -> Sequence[object]:
    shown = ["--do_eval", "--use_vdl", "--use_ema", "--save_interval", 6, "--log_iters", 2]
    start = [suite / "tools" / "train.py", "--config", config, "--device", "cpu", "--seed", 3]
    return [*start, *shown, *more, "--save_dir", out]


def _classification(suite: Path, config: Path, out: str, *more: str) -> Sequence[object]:
    settings = [part for each in (f"Global.output_dir={out}", *more) for part in ("-o", each)]
    return [suite / "tools" / "train.py", "-c", config, *settings]


def _speech(suite: Path, config: Path, out: str) -> Sequence[object]:
    data = config.parent
    start = [suite / "paddlespeech" / "t2s" / "exps" / "speedyspeech" / "train.py", "--ngpu", 0, "--config", config]
    words = ["--phones-dict", data / "phones.txt", "--tones-dict", data / "tones.txt", "--output-dir", out]
    return [
        *start,
        "--train-metadata",
        data / "train_speech.jsonl",
        "--dev-metadata",
        data / "dev_speech.jsonl",
        *words,
    ]


def _language(_: Path, __: Path, out: str) -> Sequence[object]:
    steps = ["--max_steps", 24, "--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 2, "--seed", 3]
    seen = ["--evaluation_strategy", "steps", "--eval_steps", 5, "--save_steps", 5, "--logging_steps", 2]
    best = ["--load_best_model_at_end", "True", "--metric_for_best_model", "accuracy", "--warmup_steps", 3]
    end = ["--device", "cpu", "--learning_rate", 0.01, "--bf16", "True", "--disable_tqdm", "True"]
    return [
        _own("train_language"),
        "--output_dir",
        out,
        *steps,
        *seen,
        *best,
        *end,
        "--report_to",
        "visualdl",
        "--logging_dir",
        f"{out}/log",
    ]


SUITES = {
    "detection": Suite("ppdet", "detection.yml", _detection_of_wheel),
    "detection with workers": Suite("ppdet", "detection.yml", _detection_of_wheel, workers=2),
    "segmentation": Suite(
        "paddleseg", "segmentation_2.8.yml", lambda _, config, out: [_own("train_segmentation"), config, out]
    ),
    # Its steps are of milliseconds, and each takes two batches.
    "science": Suite(
        "ppsci",
        "",
        lambda _, __, out: [_own("train_science"), out],
        every_steps=20,
        interrupted_from=(80, 140),
    ),
    # It takes two batches a step.
    "language": Suite("paddlenlp", "", _language, interrupted_from=(8, 24)),
    "PaddleDetection": Suite("PADDLE_RESUME_DETECTION", "picodet.yml", _detection),
    "PaddleSeg": Suite("PADDLE_RESUME_SEG", "segmentation.yml", _segmentation, search=True),
    "PaddleClas": Suite(
        "PADDLE_RESUME_CLAS",
        "classification.yml",
        _classification,
    ),
    "PaddleSeg with static graphs": Suite(
        "PADDLE_RESUME_SEG",
        "segmentation.yml",
        lambda suite, config, out: _segmentation(suite, config, out, "--to_static_training"),
        search=True,
    ),
    "PaddleClas with static graphs": Suite(
        "PADDLE_RESUME_CLAS",
        "classification.yml",
        lambda suite, config, out: _classification(suite, config, out, "Global.to_static=True"),
    ),
    "PaddleClas with gradients of two batches": Suite(
        "PADDLE_RESUME_CLAS",
        "classification.yml",
        lambda suite, config, out: _classification(suite, config, out, "Global.update_freq=2"),
    ),
    "PaddleSpeech": Suite("PADDLE_RESUME_SPEECH", "speech.yml", _speech, search=True, holds="paddlespeech"),
    "PaddleOCR": Suite(
        "PADDLE_RESUME_OCR",
        "text.yml",
        lambda suite, config, out: [suite / "tools" / "train.py", "-c", config, "-o", f"Global.save_model_dir={out}"],
    ),
}


def straight(suite: Suite, data: Path, folder: Path) -> Path:
    """Train as the suite says; returns the folder of the outputs."""
    _ended(_start(suite, suite.command(data), folder), folder)
    return folder / "out"


def wrapped(suite: Suite, data: Path, folder: Path) -> Path:
    """Train wrapped, from where the run in this folder stands to its end; returns the folder of the outputs."""
    _ended(_start_wrapped(suite, data, folder), folder)
    return folder / "out"


def interrupted(suite: Suite, data: Path, folder: Path, step: int, signum: int) -> int:
    """Train wrapped until a new checkpoint of at least this step is there, and end it soon after.

    Returns the exit status.
    """
    before, begun = _steps_saved(folder), _begun(folder)
    process = _start_wrapped(suite, data, folder)
    deadline = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _begun(folder) == begun:  # Until it trains, the writer of the process before may save one more.
            before = _steps_saved(folder)
        elif any(saved >= step for saved in _steps_saved(folder) - before):
            break
        time.sleep(0.005)
    time.sleep(AFTER_SAVE)
    process.send_signal(signum)
    try:
        return process.wait(_SECONDS)
    finally:
        process.kill()


def said(folder: Path) -> str:
    """All that the trainings in this folder have printed."""
    return (folder / "said.txt").read_text(errors="replace")


def _begun(folder: Path) -> int:
    """How many processes have begun to train there."""
    return said(folder).count("; captured ") if (folder / "said.txt").exists() else 0


def _steps_saved(folder: Path) -> set[int]:
    return {int(path.stem.rpartition("step")[2]) for path in (folder / "checkpoint").glob("run_step*.pdstates")}


def _start_wrapped(suite: Suite, data: Path, folder: Path) -> subprocess.Popen[bytes]:
    options = ["--save-dir", "checkpoint", "--name", "run", "--every-steps", str(suite.every_steps)]
    return _start(suite, ["-m", "paddle_resume.wrap", *options, "--", *suite.command(data)], folder)


def _start(suite: Suite, arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    with (folder / "said.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=suite.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _ended(process: Any, folder: Path) -> None:
    try:
        status = process.wait(_SECONDS)
    finally:
        process.kill()
    assert status == 0, said(folder)[-4000:]
