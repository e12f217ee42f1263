"""Hands each file of a folder to every reader and command, under every name they read, and prints what was done for it.

Its arguments: the folder, and of how many files one is taken. A line of JSON for each file: what an audit hook saw of
programs, connections, unpickling, and whether something was written that none of ours writes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hostile_doors
from malicious import MARKER
from open_hostile import import_all, in_child

SECONDS = 120
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "webbrowser.open"),
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "http.client.connect"),
    *("pickle.find_class", "shutil.rmtree", "ctypes.dlopen", "code.__new__", "function.__new__"),
)
SEEN: list[str] = []
WEIGHTS = ("x.pdparams", "x.pth", "x.bin", "x.ckpt", "x.safetensors")
NAMES = (*WEIGHTS, "run_step9.pdstates", "x.png", "x", "c.yaml", "x_export.json")
_EVAL = ("-c", "run.yaml", "--weights", "x.pdparams")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("list", "."),
    ("verify", "."),
    ("recover", "."),
    ("prune", ".", "--keep", "3"),
    *((verb, name) for verb in ("verify", "show") for name in ("x.pdparams", "run_step9")),
    ("diff", "x.pdparams", "x.pdparams"),
    ("strip", "x.pdparams", "--output", "out.pdparams"),
    ("average", "x.pdparams", "x.pdparams", "--output", "out.pdparams"),
    ("recover", "run_step9", "--output", "out.pdparams"),
    *(("convert", name, "--dry-run") for name in WEIGHTS),
    ("convert", "run_step2", "-c", "run.yaml", "--map", "c.yaml", "--dry-run"),
    ("eval", *_EVAL),
    ("inspect", *_EVAL, "--values"),
    ("predict", "-c", "run.yaml", "--weights", "run_step2", "x.png", "x"),
    ("predict", "x_export.json", "x.png"),
    ("plot", "log/other", "--save-dir", "."),
    ("train", "-c", "c.yaml", "--print-config"),
    ("train", "-c", "run.yaml", "-q"),
    ("train", "-c", "run.yaml", "-q", "--weights", "x.pdparams", "-o", "run.save_dir=new"),
    ("train", "-c", "run.yaml", "-q", "--resume", "other", "-o", "run.save_dir=new"),
    ("train", "-c", "run.yaml", "-q", "-o", "run.save_dir=new", "-o", "data.root=odd"),
)


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in FORBIDDEN:
        SEEN.append(f"{event} {str(arguments)[:80]}")
    elif event == "import" and str(arguments[0]).partition(".")[0] in ("antigravity", "this"):
        SEEN.append(f"import {arguments[0]}")


def tried(file: Path) -> dict[str, Any]:
    """Every command in the folder where we are, which holds the file under every name."""
    signal.alarm(SECONDS)
    for name in NAMES:
        Path(name).unlink(missing_ok=True)
        shutil.copyfile(file, name)
    for suffix in (".pdparams", ".pdopt", ".pdstates"):
        shutil.copyfile(file, f"other{suffix}")
    for folder, names in {
        "log/other": ("metrics.jsonl",),
        "odd": [path.name for path in Path("data").iterdir()],
    }.items():
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(file, Path(folder, name))
    SEEN.clear()
    odd = []
    for arguments in COMMANDS:
        try:
            hostile_doors.command(*arguments)
        except hostile_doors.PaddleResumeError:
            pass
        except BaseException as error:
            odd.append(f"{' '.join(arguments)}: {type(error).__name__}: {str(error)[-300:]}")
        Path("out.pdparams").unlink(missing_ok=True)
    written = [str(path) for path in Path().rglob(f"*{MARKER}*")]
    return {"seen": SEEN[:5], "odd": odd, "written": written}


def main(folder: Path, every: int) -> None:
    import_all()
    platform.processor()  # It asks a program, once.
    with contextlib.redirect_stderr(io.StringIO()), tempfile.TemporaryDirectory() as text:
        run = Path(text, "run")
        run.mkdir()
        for make in (hostile_doors.make_run, hostile_doors.make_other_runs):
            in_child(lambda make=make: {"how": make(run)})
        sys.addaudithook(watch)
        for file in [path for path in sorted(folder.rglob("*")) if path.is_file()][::every]:
            here = Path(text, "here")
            shutil.copytree(run, here)

            def work(file: Path = file, here: Path = here) -> dict[str, Any]:
                os.chdir(here)
                return tried(file)

            print(json.dumps({"file": file.name, **in_child(work)}), flush=True)
            shutil.rmtree(here)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
