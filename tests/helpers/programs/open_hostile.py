"""Opens hostile files, each in a child of its own, and prints a line of JSON for each: how it ended, memory, time.

Its arguments: which of the files, 1 for all or 8 for each eighth, then nothing or the names of doors. The children
share what was imported before.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bombs

import paddle_resume  # noqa: F401 - it sets up the CPU before Paddle is imported
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.errors import PaddleResumeError

SECONDS = 20
ROOM = 3 << 30


def record(path: Path) -> Any:
    from paddle_resume.checkpoint.choose import choose

    return choose("auto", path.parent, "run")


def command(*arguments: str) -> Any:
    """The command line, in this process; an error of it is raised."""
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
    if len(said.getvalue() + errors.getvalue()) > 1 << 16:
        raise RuntimeError(f"it said {len(said.getvalue() + errors.getvalue())} letters")
    if status:
        raise PaddleResumeError(errors.getvalue() or said.getvalue())


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


def idx(path: Path) -> Any:
    from paddle_resume.data.idx import read_idx

    return read_idx(path)


def log(path: Path) -> Any:
    from paddle_resume.pictures.history import read_history

    return read_history(path.parent, path.parents[2])


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


def toolbox(verb: str, *more: str) -> Callable[[Path], Any]:
    return lambda path: command(verb, str(path.parent if verb == "list" else path.with_suffix("")), *more)


DOORS: dict[str, tuple[dict[str, Any], Callable[[Path], Any]]] = {
    "resume": (bombs.RECORDS, record),
    "list": (bombs.RECORDS, toolbox("list")),
    "verify": (bombs.RECORDS, toolbox("verify")),
    "show": (bombs.RECORDS, toolbox("show")),
    "show --json": (bombs.RECORDS, toolbox("show", "--json", "--all")),
    "recover": (bombs.RECORDS, toolbox("recover")),
    "weights": (bombs.PICKLES, weights),
    "optimizer": (bombs.PICKLES, optimizer),
    "verify a pickle": (bombs.PICKLES, lambda path: command("verify", str(path))),
    "torch": (bombs.TORCH, source),
    "safetensors": (bombs.SAFETENSORS, source),
    "config": (bombs.CONFIGS, config),
    "idx": (bombs.IDX, idx),
    "plot": (bombs.LOGS, log),
    "small files": (bombs.SMALL_FILES, small),
}


def peak() -> int:
    """The most memory of this process since the last reset, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def open_in_child(door: Callable[[Path], Any], path: Path) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
            signal.alarm(SECONDS)
            Path("/proc/self/clear_refs").write_text("5")
            before, begun = peak(), time.monotonic()
            try:
                door(path)
                how = "taken"
            except (PaddleResumeError, Unreadable) as error:
                how = "refused" if len(str(error)) < 2000 else f"an error of {len(str(error))} letters"
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)
                ours = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "paddle_resume" in f.filename]
                how = f"{type(error).__name__}: {str(error)[-150:]} {ours[-3:]}"
            told = {"how": how, "seconds": time.monotonic() - begun, "memory": peak() - before}
            os.write(writing, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(said) if said else {"how": f"killed by {status}", "seconds": SECONDS, "memory": 0}


def cases(every: int, doors: list[str]) -> Iterator[tuple[str, str]]:
    for at, door in enumerate(doors or DOORS):  # Through doors that lead to the same files, others of them.
        for name in list(DOORS[door][0])[at % every :: every]:
            yield door, name


def main(every: int, doors: list[str]) -> None:
    import paddle_resume.checkpoint.choose
    import paddle_resume.cli.app
    import paddle_resume.config.loading
    import paddle_resume.convert.weight_sources
    import paddle_resume.data.idx
    import paddle_resume.inference.description
    import paddle_resume.pictures.history
    import paddle_resume.toolbox

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(BaseException):
        paddle_resume.cli.app.main(["list", "."])  # What is imported by the first command only.
    for door, name in cases(every, doors):
        makers, opens = DOORS[door]
        with tempfile.TemporaryDirectory() as folder:
            path = makers[name](Path(folder))
            size = sum(p.lstat().st_blocks * 512 for p in Path(folder).rglob("*"))
            told = open_in_child(opens, path)
        print(json.dumps({"door": door, "name": name, "size": size, **told}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
