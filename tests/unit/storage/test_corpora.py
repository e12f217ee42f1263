"""Files that run something where they are unpickled: through every reader and command, and nothing is run.

Others' collections are not in this repository. `$PADDLE_RESUME_CORPORA` names folders with them, such as picklescan's
`tests`; what picklescan, where it is installed, lists as dangerous is called by pickles made here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from malicious import malicious
from places import PROGRAMS, ROOT

from paddle_resume.errors import CheckpointError
from paddle_resume.storage.restricted_pickle import read_foreign

CORPORA = [Path(folder) for folder in os.environ.get("PADDLE_RESUME_CORPORA", "").split(os.pathsep) if folder]


def tried(folder: Path, every: int = 1) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "open_malicious.py", folder, str(every)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"file"')]


def badly_met(met: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in met if one.get("seen") != [] or one["odd"] or one["written"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("malicious")
    for name, content in malicious():
        (folder / name).write_bytes(content)
    return folder


def test_a_few_run_nothing_at_any_door(made: Path) -> None:
    met = tried(made, every=160)
    assert (len(met) > 1, badly_met(met)) == (True, [])


@pytest.mark.full
def test_none_runs_anything_at_any_door(made: Path) -> None:
    assert badly_met(tried(made)) == []


def test_the_reader_refuses_each_and_runs_none(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    for path in made.iterdir():
        if not path.name.endswith("-contained"):
            with pytest.raises(CheckpointError):
                read_foreign(path)
    assert not (made / "MARKER").exists()


@pytest.mark.full
@pytest.mark.skipif(not CORPORA, reason="PADDLE_RESUME_CORPORA names no folders with malicious samples")
@pytest.mark.parametrize("folder", CORPORA)
def test_collections_of_others_run_nothing_at_any_door(folder: Path) -> None:
    met = tried(folder)
    assert (len(met) > 0, badly_met(met)) == (True, [])


@pytest.mark.full
def test_what_picklescan_lists_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = pytest.importorskip("picklescan.scanner")._unsafe_globals
    monkeypatch.chdir(tmp_path)
    for module, names in listed.items():
        for name in ("system",) if names == "*" else names:
            (tmp_path / "x.pdparams").write_bytes(f"c{module}\n{name}\n(X\x01\0\0\0xtR.".encode())
            with pytest.raises(CheckpointError):
                read_foreign(tmp_path / "x.pdparams")
    assert not (tmp_path / "MARKER").exists()
