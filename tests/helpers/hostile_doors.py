"""Every door through which a file of others comes in, and the hostile files that are handed in there.

A door is called with the hostile file as `path`; beside it lies a run, as `make_run` leaves it: `run.yaml`, its data,
its logs, and two good checkpoints `run_step2` and `run_step4`. It raises what a user would be told, or returns.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import bombs
import numpy as np
from idx_files import idx

from paddle_resume.errors import PaddleResumeError

CONFIG = """
run: {name: run, save_dir: ., log_dir: log, device: cpu}
model: {name: MLP, hidden: 8}
data: {name: mnist, root: data, global_batch_size: 10}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 4, max_steps: 4, log_every: 2}
checkpoint: {every_steps: 2, every_epochs: null, keep: 9, background: false}
"""
TEXT_CONFIG = """
run: {name: text, save_dir: text, log_dir: log, device: cpu}
model: {name: TransformerLM, vocab_size: auto, context: auto, width: 16, depth: 1, heads: 2}
data: {name: TextDataset, files: [text.txt], tokenizer: bytes, context: 16, global_batch_size: 4}
optimizer: {name: Adam, lr: 0.01}
trainer: {epochs: 1, max_steps: 1}
"""
# What `wrap` runs: a loop of its own.
PROGRAM = """
import paddle

net = paddle.nn.Linear(4, 2)
adam = paddle.optimizer.Adam(parameters=net.parameters())
for _ in range(2):
    net(paddle.ones([2, 4])).mean().backward()
    adam.step()
    adam.clear_grad()
"""
RUN = ("--save-dir", ".", "--max-restarts", "1", "--pause", "0")
WRAP = ("wrap", "--auto", "--every-steps", "1", "--save-dir", "wrapped", "--name", "run")
GENERATE = ("-c", "text.yaml", "--prompt", "To be", "--length", "3")
GOOD = ("run_step2", "run_step4")
_MOST_SAID = 1 << 16


class Door(NamedTuple):
    """What opens the file, with which hostile files, and whether it may do its work although they are there.

    One without a control does not do its work for a file that is in order either.
    """

    files: Mapping[str, bombs.Maker]
    open: Callable[[Path], Any]
    beside_a_run: bool = False
    goes_on: bool = False
    has_control: bool = True


def make_run(folder: Path) -> None:
    """Train four steps in `folder`."""
    random = np.random.default_rng(0)
    (folder / "data").mkdir()
    for stem, count in (("train", 60), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (folder / "data" / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        labels = random.integers(0, 10, count, dtype=np.uint8)
        (folder / "data" / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    (folder / "run.yaml").write_text(CONFIG)
    os.chdir(folder)
    command("train", "-c", "run.yaml", "-q")


def make_other_runs(folder: Path) -> None:
    """Beside it one on text, and one of a wrapped program: in a process of its own, which it takes over for good."""
    (folder / "text.yaml").write_text(TEXT_CONFIG)
    (folder / "text.txt").write_text("To be, or not to be, that is the question. " * 20)
    (folder / "program.py").write_text(PROGRAM)
    os.chdir(folder)
    command("train", "-c", "text.yaml", "-q")
    subprocess.run([sys.executable, "-m", "paddle_resume", *WRAP, "program.py"], check=True, capture_output=True)


def command(*arguments: str) -> str:
    """What the command line says, run in this process; an error of it is raised, as is a traceback or a flood."""
    from paddle_resume.cli.app import main

    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        status: Any = 0
        try:
            main(list(arguments))
        except SystemExit as end:
            status = end.code
    if "Traceback" in errors.getvalue():
        raise RuntimeError(errors.getvalue())
    if len(said.getvalue() + errors.getvalue()) > _MOST_SAID:
        raise RuntimeError(f"it said {len(said.getvalue() + errors.getvalue())} letters")
    if status:
        raise PaddleResumeError(errors.getvalue() or said.getvalue())
    return said.getvalue()


# ---------------------------------------------------------------- readers, by themselves


def resume(path: Path) -> Any:
    from paddle_resume.checkpoint.choose import choose

    return choose("auto", path.parent, "run")


def weights(path: Path) -> Any:
    from paddle_resume.checkpoint.weights import read_weights

    return read_weights(str(path))


def optimizer(path: Path) -> Any:
    from paddle_resume.checkpoint.foreign_files import optimizer_entries

    return optimizer_entries(path)


def source(path: Path) -> Any:
    from paddle_resume.convert.weight_sources import read_source

    return read_source(str(path), layout="torch" if path.suffix == ".safetensors" else None)


def config(path: Path) -> Any:
    from paddle_resume.config.loading import load_config

    return load_config(path)


def idx_file(path: Path) -> Any:
    from paddle_resume.data.idx import read_idx

    return read_idx(path)


def book(path: Path) -> Any:
    from paddle_resume.data.paddle_book import read_book

    return read_book(path)


def log(path: Path) -> Any:
    from paddle_resume.pictures.history import read_history

    return read_history(path.parent, path.parents[2])


def curves(path: Path) -> Any:
    from paddle_resume.loggers.visualdl import read_images, read_scalars, read_values

    for read in (read_scalars, read_images, read_values):
        read(path)


def fingerprints(path: Path) -> Any:
    from paddle_resume.storage.fingerprint_file import FingerprintFile

    with contextlib.suppress(OSError):
        return FingerprintFile(path).read()


def claim(path: Path) -> Any:
    from paddle_resume.loggers.log_claim import LogClaim

    one = LogClaim(path.with_name("metrics.jsonl"))
    one.take(path.parent / "other" / "run")
    one.release()


def lock(path: Path) -> Any:
    from paddle_resume.storage.lock import RunLock

    with contextlib.suppress(OSError):
        one = RunLock(path.parent, "run")
        one._holder(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        one.acquire()


def export(path: Path) -> Any:
    from paddle_resume.inference.description import find_export

    return find_export(str(path))


def small(path: Path) -> Any:
    doors = {".steps": fingerprints, ".run": claim, ".lock": lock, ".json": export}
    return doors[path.suffix](path)


# ---------------------------------------------------------------- commands


def on(verb: str, *more: str) -> Callable[[Path], Any]:
    """The command on the file's checkpoint; {prefix}, {path} and {folder} in its arguments are the file's."""

    def run(path: Path) -> Any:
        names = {"prefix": str(path.with_suffix("")), "path": str(path), "folder": str(path.parent)}
        return command(verb, *(each.format(**names) for each in more))

    return run


def beside(verb: str, *more: str) -> Callable[[Path], Any]:
    """The command on the folder, which has to tell of the good checkpoints too."""

    def run(path: Path) -> Any:
        try:
            said = on(verb, *more)(path)
        except PaddleResumeError as error:
            said = str(error)
        lines = said.splitlines()
        for name in GOOD:
            if not any(name in line and "damaged" not in line and "NOT good" not in line for line in lines):
                raise RuntimeError(f"{verb} does not tell of {name}: {said[-300:]}")

    return run


def trained_on(*more: str) -> Callable[[Path], Any]:
    """`train` beside the file, which has to find the run complete, or go on with it."""

    def run(path: Path) -> Any:
        os.chdir(path.parent)
        return command("train", "-c", "run.yaml", "-q", *more)

    return run


def in_folder(verb: str, *more: str) -> Callable[[Path], Any]:
    def run(path: Path) -> Any:
        os.chdir(path.parent)
        return on(verb, *more)(path)

    return run


def wrapped(*more: str) -> Callable[[Path], Any]:
    """`wrap` where it saves, with the hostile checkpoint beside its own."""

    def run(path: Path) -> Any:
        for each in path.parent.glob("run_step9*"):
            each.rename(path.parent / "wrapped" / each.name)
        os.chdir(path.parent)
        return command(*WRAP, *more, "program.py")

    return run


def as_foreign_trio(path: Path) -> Any:
    """`train --resume` of a checkpoint of another program, all of whose files are this one."""
    for suffix in (".pdparams", ".pdopt", ".pdstates"):
        target = path.with_name(f"other{suffix}")
        target.symlink_to(path) if path.is_symlink() or not path.is_file() else os.link(path, target)
    os.chdir(path.parent)
    return command("train", "-c", "run.yaml", "-q", "--resume", "other", "-o", "run.save_dir=new")


def as_data(path: Path) -> Any:
    """`train` on MNIST files one of which is this one."""
    os.chdir(path.parent)
    target = path.parent / "data" / "train-images-idx3-ubyte"
    target.unlink()
    path.rename(target)
    return command("train", "-c", "run.yaml", "-q", "-o", "run.save_dir=new", "-o", "data.fallback=null")


def as_book(path: Path) -> Any:
    """`train` on the Paddle book's file of MNIST."""
    os.chdir(path.parent)
    shutil.rmtree(path.parent / "data")
    (path.parent / "data").mkdir()
    path.rename(path.parent / "data" / path.name)
    return command("train", "-c", "run.yaml", "-q", "-o", "run.save_dir=new", "-o", "data.fallback=null")


def with_log(path: Path) -> Any:
    """`train` going on from step 2, with this log."""
    for suffix in (".pdparams", ".pdopt", ".pdstates"):
        (path.parents[2] / f"run_step4{suffix}").unlink()
    os.chdir(path.parents[2])
    return command("train", "-c", "run.yaml", "-q")


WITH = ("-c", "run.yaml", "--weights", "{path}")
_OF_RECORD = ("-c", "run.yaml", "--weights", "{prefix}")
DOORS: dict[str, Door] = {
    # The names of the readers are kept, since a test asks for each of them by its own.
    "resume": Door(bombs.RECORDS, resume),
    "list": Door(bombs.RECORDS, on("list", "{folder}")),
    "verify": Door(bombs.RECORDS, on("verify", "{prefix}")),
    "show": Door(bombs.RECORDS, on("show", "{prefix}")),
    "show --json": Door(bombs.RECORDS, on("show", "{prefix}", "--json", "--all")),
    "recover": Door(bombs.RECORDS, on("recover", "{folder}")),
    "recover --output": Door(bombs.RECORDS, on("recover", "{prefix}", "--output", "{folder}/saved.pdparams")),
    "diff": Door(bombs.RECORDS, on("diff", "{prefix}", "{prefix}")),
    "average": Door(bombs.RECORDS, on("average", "{prefix}", "{prefix}", "--output", "{folder}/mean.pdparams")),
    "strip": Door(bombs.RECORDS, on("strip", "{prefix}", "--output", "{folder}/stripped.pdparams")),
    "merge": Door(bombs.RECORDS, on("merge", "{prefix}", "--output", "{folder}/merged")),
    "prune": Door(bombs.RECORDS, on("prune", "{folder}", "--keep", "1", "--yes"), beside_a_run=True, goes_on=True),
    "list beside good ones": Door(bombs.RECORDS, beside("list", "{folder}"), True, True),
    "verify beside good ones": Door(bombs.RECORDS, beside("verify", "{folder}"), True, True),
    "train beside good ones": Door(bombs.RECORDS, trained_on(), True, True),
    "train --resume": Door(
        bombs.RECORDS,
        in_folder("train", "-c", "run.yaml", "-q", "--resume", "{prefix}", "-o", "run.save_dir=new"),
        True,
    ),
    "eval": Door(bombs.RECORDS, in_folder("eval", *_OF_RECORD), True),
    "convert a checkpoint": Door(bombs.RECORDS, on("convert", "{prefix}", "--dry-run")),
    "plot beside records": Door(bombs.RECORDS, in_folder("plot", "log/run", "--save-dir", "."), True, True),
    "doctor": Door(bombs.RECORDS, on("doctor", "{folder}"), False, True),
    # Where it saves is looked at between two starts of the program, which fails here.
    "run": Door(bombs.RECORDS, in_folder("run", *RUN, "--", "false"), True, has_control=False),
    "run a program that is fine": Door(bombs.RECORDS, in_folder("run", *RUN, "--", "true"), True, True),
    "wrap": Door(bombs.RECORDS, wrapped(), True),
    "wrap --resume": Door(bombs.RECORDS, wrapped("--resume", "wrapped/run_step9"), True, has_control=False),
    "generate": Door(bombs.RECORDS, in_folder("generate", *GENERATE, "--weights", "{prefix}"), True),
    "generate with a pickle": Door(bombs.PICKLES, in_folder("generate", *GENERATE, "--weights", "{path}"), True),
    "weights": Door(bombs.PICKLES, weights),
    "optimizer": Door(bombs.PICKLES, optimizer),
    "verify a pickle": Door(bombs.PICKLES, on("verify", "{path}")),
    "show a pickle": Door(bombs.PICKLES, on("show", "{path}")),
    "diff a pickle": Door(bombs.PICKLES, on("diff", "{path}", "{path}")),
    "average a pickle": Door(bombs.PICKLES, on("average", "{path}", "{path}", "--output", "{folder}/mean.pdparams")),
    "strip a pickle": Door(bombs.PICKLES, on("strip", "{path}", "--output", "{folder}/stripped.pdparams")),
    "convert a pickle": Door(bombs.PICKLES, on("convert", "{path}", "--output", "{folder}/x.safetensors")),
    "eval a pickle": Door(bombs.PICKLES, in_folder("eval", *WITH), True),
    "predict with a pickle": Door(bombs.PICKLES, in_folder("predict", *WITH, "data/t10k-images-idx3-ubyte"), True),
    "export a pickle": Door(bombs.PICKLES, in_folder("export", *WITH), True),
    "inspect a pickle": Door(bombs.PICKLES, in_folder("inspect", *WITH, "--values"), True),
    "wrong with a pickle": Door(bombs.PICKLES, in_folder("wrong", *WITH), True),
    "train --weights": Door(bombs.PICKLES, trained_on("--weights", "x.pdparams", "-o", "run.save_dir=new"), True),
    "train --resume of others": Door(bombs.PICKLES, as_foreign_trio, True),
    "torch": Door(bombs.TORCH, source),
    "convert torch": Door(bombs.TORCH, on("convert", "{path}", "--output", "{folder}/y.pdparams")),
    "safetensors": Door(bombs.SAFETENSORS, source),
    "convert safetensors": Door(
        bombs.SAFETENSORS, on("convert", "{path}", "--from", "torch", "--output", "{folder}/y.pdparams")
    ),
    "config": Door(bombs.CONFIGS, config),
    "train -c": Door(bombs.CONFIGS, on("train", "-c", "{path}", "--print-config")),
    "prove": Door(bombs.CONFIGS, on("prove", "-c", "{path}", "--kills", "1")),
    "plot-lr": Door(bombs.CONFIGS, on("plot-lr", "-c", "{path}", "--output", "{folder}/lr.png")),
    "convert --map": Door(
        bombs.CONFIGS, in_folder("convert", "run_step2", "-c", "run.yaml", "--map", "{path}", "--dry-run"), True
    ),
    "idx": Door(bombs.IDX, idx_file),
    "train on IDX": Door(bombs.IDX, as_data, True),
    "predict IDX": Door(bombs.IDX, in_folder("predict", "-c", "run.yaml", "--weights", "run_step2", "{path}"), True),
    "book": Door(bombs.BOOKS, book),
    "train on a book": Door(bombs.BOOKS, as_book, True),
    "plot": Door(bombs.LOGS, log),
    "train with a log": Door(bombs.LOGS, with_log, True, True),
    "VisualDL": Door(bombs.CURVES, curves),
    "small files": Door(bombs.SMALL_FILES, small),
    "train beside small files": Door(bombs.SMALL_FILES, trained_on(), True, True),
    "predict an export": Door(
        {name: maker for name, maker in bombs.SMALL_FILES.items() if name.startswith("export")},
        on("predict", "{path}", "{path}"),
    ),
    "predict images": Door(
        bombs.IMAGES, in_folder("predict", "-c", "run.yaml", "--weights", "run_step2", "{path}"), True
    ),
}


def lay_out(door: Door, name: str, run: Path, made: Path, folder: Path) -> Path:
    """The hostile file in `folder`, beside a copy of the run if the door needs one.

    Files that take long to make are made once, in `made`; no door writes into them.
    """
    if door.beside_a_run:
        shutil.copytree(run, folder, dirs_exist_ok=True)
    if door.files is bombs.LOGS or door.files is bombs.SMALL_FILES:
        for path in (*folder.glob(".run.*"), *folder.glob("log/run/.*")):
            path.unlink()
        return door.files[name](folder)
    kind = next((key for key, files in vars(bombs).items() if files is door.files), "some of them")
    once = made / kind / name.replace("/", "-")
    if not once.exists():
        once.mkdir(parents=True)
        (once / "named").write_text(door.files[name](once).name)
    for path in once.iterdir():
        os.link(path, folder / path.name, follow_symlinks=False)
    return folder / (once / "named").read_text()
