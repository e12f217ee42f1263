"""A run that goes on where the same name stands for another processor: refused by what differs, unless allowed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import hostile_doors
import pytest
from places import ROOT

_ELSEWHERE = 'mount --bind "$1" /proc/cpuinfo && shift && exec "$@"'


def resume(processor: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The run goes on for a step more, in a process of whose kernel such a file tells the processor."""
    command = [
        "-m",
        "paddle_resume",
        "train",
        "-c",
        "run.yaml",
        "-o",
        "trainer.max_steps=5",
        "--allow-change",
        *options,
    ]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", _ELSEWHERE, "sh", str(processor), sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    return done


@pytest.mark.skipif(os.geteuid() != 0, reason="a file can be mounted by root alone")
def test_another_processor_of_the_same_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile_doors.make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    here = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^(model\t+|CPU part\t*): (\S+)$", here, re.MULTILINE)
    if model is None:
        pytest.skip("the system does not tell the kind of its processor")
    (tmp_path / "same").write_text(here, encoding="utf-8")
    (tmp_path / "other").write_text(here.replace(model[0], f"{model[1]}: 0x99"), encoding="utf-8")

    refused = resume(tmp_path / "other")

    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert re.search(rf"environment cpu_kind: .*{model[2]}\b.* -> .*0x99", " ".join(refused.stderr.split())), refused
    assert resume(tmp_path / "same").returncode == 0
    assert resume(tmp_path / "other", "--allow-inexact", "-o", "trainer.max_steps=6").returncode == 0
