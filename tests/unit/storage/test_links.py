"""A link, or another file, under a name that can be foreseen: what it leads to is not touched, and locks notice."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.errors import CheckpointError, PaddleResumeError
from paddle_resume.loggers import JsonlLogger
from paddle_resume.loggers.log_claim import LogClaim
from paddle_resume.loggers.visualdl import VisualDLLogger
from paddle_resume.storage.fingerprint_file import Fingerprint, FingerprintFile
from paddle_resume.storage.lock import RunLock

PRECIOUS = b"somebody else's"


class Tensors:
    suffix = ".pdparams"

    def state_dict(self) -> dict[str, Any]:
        return {"w": np.arange(6, dtype=np.float32)}

    def set_state_dict(self, state: dict[str, Any]) -> None: ...


def save(folder: Path, step: int = 1) -> None:
    engine = CheckpointEngine(folder, "run", background=False)
    engine.save(step, {"model": Tensors()}, epoch=0, phase="train")
    engine.close()


def log(folder: Path) -> None:
    logger = JsonlLogger(folder)
    logger.log_scalars({"train/loss": 1.0}, 1)
    logger.flush()


def start_log_over(folder: Path) -> None:
    JsonlLogger(folder).start_over()


def graph(folder: Path) -> None:
    VisualDLLogger(folder, "run").log_graph("{}")


def fingerprint(folder: Path) -> None:
    FingerprintFile(folder / ".run.steps").append([Fingerprint(1, 2, 3.0, 4, 5)])


def fingerprints_anew(folder: Path) -> None:
    FingerprintFile(folder / ".run.steps").rewrite([Fingerprint(1, 2, 3.0, 4, 5)])


def claim(folder: Path) -> None:
    one = LogClaim(folder / "metrics.jsonl")
    one.take(folder / "run")
    one.release()


# Where the link lies, who writes there, and whether that goes on beside it.
LINKS: dict[str, tuple[str, Callable[[Path], None], bool]] = {
    "a temporary of the weights": (".run_step1.pdparams.tmp", save, True),
    "a temporary of the record": (".run_step1.pdstates.tmp", save, True),
    "the weights": ("run_step1.pdparams", save, True),
    "the lock": (".run.lock", save, False),
    "a log": ("metrics.jsonl", log, False),
    "a log that starts over": ("metrics.jsonl", start_log_over, False),
    "the graph": (".vdlgraph.run.log.tmp", graph, True),
    "fingerprints": (".run.steps", fingerprint, True),
    "fingerprints that are written anew": (".run.steps", fingerprints_anew, True),
    "a temporary of fingerprints": ("..run.steps.tmp", fingerprints_anew, True),
    "a claim": (".metrics.jsonl.run", claim, True),
}


@pytest.mark.parametrize("where", LINKS)
def test_nothing_is_written_through_a_link(where: str, tmp_path: Path) -> None:
    name, write, goes_on = LINKS[where]
    precious = tmp_path / "precious"
    precious.write_bytes(PRECIOUS)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(precious)
    if goes_on:
        write(folder)
    else:
        with pytest.raises((PaddleResumeError, OSError)):
            write(folder)
    assert precious.read_bytes() == PRECIOUS


@pytest.mark.parametrize("where", [name for name, (_, _, goes_on) in LINKS.items() if name not in ("a claim",)])
def test_a_link_to_nowhere_makes_no_file_there(where: str, tmp_path: Path) -> None:
    name, write, _ = LINKS[where]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "new")
    with contextlib.suppress(PaddleResumeError, OSError):
        write(folder)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_the_mode_of_every_file_is_what_the_umask_leaves(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        for write in (save, log, fingerprint, claim):
            write(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir() if path.is_file()}
    assert len(modes) == 6 and set(modes.values()) == {mode}, modes


# ---------------------------------------------------------------- a lock whose file was replaced


def held_by_another(folder: Path) -> subprocess.Popen:
    code = (
        "import sys; from pathlib import Path; from paddle_resume.storage.lock import RunLock\n"
        "RunLock(Path(sys.argv[1]), 'run').acquire(); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    return other


def test_a_lock_whose_file_was_removed_is_taken_again_and_keeps_others_out(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "run")
    lock.acquire()
    (tmp_path / ".run.lock").unlink()
    lock.renew()
    code = "import sys; from pathlib import Path; from paddle_resume.storage.lock import RunLock\n"
    code += "RunLock(Path(sys.argv[1]), 'run').acquire()"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert "Another process already writes this run" in done.stderr
    lock.release()


def test_a_save_stops_where_another_took_the_run_over_a_removed_lock(tmp_path: Path) -> None:
    engine = CheckpointEngine(tmp_path, "run", background=False)
    engine.save(1, {"model": Tensors()})
    engine.wait()
    (tmp_path / ".run.lock").unlink()
    other = held_by_another(tmp_path)
    try:
        with pytest.raises(CheckpointError, match="Another process already writes this run"):
            engine.save(2, {"model": Tensors()})
    finally:
        other.communicate(b"")
        engine.close()
    assert not (tmp_path / "run_step2.pdstates").exists()


def test_a_lock_that_was_replaced_between_opening_and_locking_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = RunLock(tmp_path, "run")
    taken = RunLock._lock
    times = []

    def replaced_meanwhile(self: RunLock, fd: int) -> None:
        taken(self, fd)
        if not times:
            (tmp_path / ".run.lock").unlink()
        times.append(fd)

    monkeypatch.setattr(RunLock, "_lock", replaced_meanwhile)
    lock.acquire()
    assert len(times) == 2 and os.fstat(lock._fd or -1).st_ino == (tmp_path / ".run.lock").stat().st_ino
    lock.release()
