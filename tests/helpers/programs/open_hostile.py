"""Opens hostile files, each in a child of its own, and prints a line of JSON for each: how it ended, memory, CPU time.

Its arguments: which of the files, 1 for all or 8 for each eighth, then nothing or the names of doors. The children
share what was imported before. With all files, a control comes first at each door: one in order, which is to be taken.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import resource
import shutil
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
import numpy as np
from hostile_doors import DOORS, Door, as_data, as_foreign_trio, lay_out, make_other_runs, make_run, with_log

import paddle_resume  # noqa: F401 - it sets up the CPU before Paddle is imported
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.errors import PaddleResumeError

CONTROL = "in order"
SECONDS = 20
ROOM = 3 << 30


def peak() -> int:
    """The most memory of this process since the last reset, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` tells, in a process of its own, with bounds of time and memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
            signal.alarm(SECONDS)
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(said) if said else {"how": f"killed by {status}", "seconds": SECONDS, "memory": 0}


def measured(opens: Callable[[Path], Any], path: Path) -> dict[str, Any]:
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = peak(), time.process_time()  # not the clock's, which other programs take their part of
    told = ""
    try:
        opens(path)
        how = "taken"
    except (PaddleResumeError, Unreadable) as error:
        told = str(error)
        how = "refused" if len(told) < 4000 else f"an error of {len(told)} letters"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "paddle_resume" in f.filename]
        how = f"{type(error).__name__}: {str(error)[-150:]} {ours[-3:]}"
    return {"how": how, "seconds": time.process_time() - begun, "memory": peak() - before, "told": told[:300]}


def in_order(door: Door, folder: Path) -> Path | None:
    """A file of the door's kind that nobody has altered, in a folder that holds a run; None where none was made."""
    if not door.has_control:
        return None
    if door in (DOORS["generate"], DOORS["generate with a pickle"]):
        for each in (folder / "text").glob("text_*"):
            shutil.copy(each, folder / each.name)
        return next(folder.glob("text_*.pdstates" if door.files is bombs.RECORDS else "text_*.pdparams"))
    if door.open is as_data or door.files is bombs.IDX:
        return Path(shutil.copy(folder / "data" / "train-images-idx3-ubyte", folder / "x"))
    if door.open is as_foreign_trio:
        return None
    if door.open is with_log or door.files is bombs.LOGS:
        return folder / "log" / "run" / "metrics.jsonl"
    if door.files is bombs.PICKLES:
        return Path(shutil.copy(folder / "run_step2.pdparams", folder / "x.pdparams"))
    if door.files is bombs.RECORDS:
        for suffix in (".pdstates", ".pdparams", ".pdopt"):
            text = (folder / f"run_step4{suffix}").read_bytes()
            (folder / f"run_step4{suffix}").write_bytes(text)
        return folder / "run_step4.pdstates"
    if door.files is bombs.BOOKS:
        return book_in_order(folder)
    if door.files is bombs.CURVES:
        return next((folder / "log" / "run").glob("vdlrecords.*.log"))
    return None


def book_in_order(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 784)) / 255
    part = [pixels.tolist(), [n % 10 for n in range(20)]]
    path = folder / "mnist.json.gz"
    path.write_bytes(gzip.compress(json.dumps([part] * 3).encode()))
    return path


def told_of(door: Door, name: str, run: Path, made: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=made.parent) as text:
        folder = Path(text)
        if name == CONTROL:
            shutil.copytree(run, folder, dirs_exist_ok=True)
            path = in_order(door, folder)
        else:
            path = lay_out(door, name, run, made, folder)
        if path is None:
            return {}
        size = sum(p.lstat().st_blocks * 512 for p in folder.rglob("*"))
        return {"size": size, **in_child(lambda: measured(door.open, path))}


def cases(every: int, doors: list[str]) -> Iterator[tuple[str, str]]:
    for at, door in enumerate(doors or DOORS):  # Through doors that lead to the same files, others of them.
        if every == 1:
            yield door, CONTROL
        for name in list(DOORS[door].files)[at % every :: every]:
            yield door, name


def import_all() -> None:
    """What the commands import, so that no child is charged for it."""
    import matplotlib.figure  # noqa: F401
    import paddle  # noqa: F401
    import visualdl.proto.record_pb2  # noqa: F401
    from PIL import Image

    import paddle_resume.builders.run
    import paddle_resume.checkpoint.choose
    import paddle_resume.cli.app
    import paddle_resume.convert.convert_file
    import paddle_resume.convert.weight_sources
    import paddle_resume.inference.export_model
    import paddle_resume.inference.predict
    import paddle_resume.inspection.model_inspection
    import paddle_resume.pictures.history
    import paddle_resume.pictures.misclassified
    import paddle_resume.toolbox

    Image.init()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(BaseException):
        paddle_resume.cli.app.main(["list", "."])  # What is imported by the first command only.


def main(every: int, doors: list[str]) -> None:
    import_all()
    with tempfile.TemporaryDirectory() as text:
        run, made = Path(text, "run"), Path(text, "made")
        run.mkdir()
        made.mkdir()
        training = in_child(lambda: measured(make_run, run))
        others = in_child(lambda: measured(make_other_runs, run))
        assert training["how"] == others["how"] == "taken", (training, others)
        for door, name in cases(every, doors):
            told = told_of(DOORS[door], name, run, made)
            if told:
                print(json.dumps({"door": door, "name": name, **told}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
