"""A fit claims the curves that it writes, and its errors name what a fit is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fitting import fit, hapi

from paddle_resume import set_language
from paddle_resume.errors import CheckpointError
from paddle_resume.loggers import read_scalars
from paddle_resume.translations import shown

HOLD = """
import sys, pathlib
from paddle_resume.loggers.log_claim import LogClaim
LogClaim(pathlib.Path(sys.argv[1])).take(pathlib.Path('other'))
print('held', flush=True)
sys.stdin.read()
"""


class Nested(hapi.Callback):
    """Another fit from within, whose curves go into the same folder."""

    def __init__(self, folder: Path, curves: Path) -> None:
        super().__init__()
        self._folder, self._curves, self.refused = folder, curves, ""

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == 1:
            with pytest.raises(CheckpointError) as found:
                fit(self._folder, {"callbacks": [hapi.VisualDL(str(self._curves))]})
            self.refused = str(found.value)


def test_two_fits_never_write_one_log(tmp_path: Path) -> None:
    curves = tmp_path / "curves"
    nested = Nested(tmp_path / "other", curves)
    fit(tmp_path, {"callbacks": [hapi.VisualDL(str(curves)), nested]})
    assert "is being written by another trainer in this process" in nested.refused
    assert nested.refused.endswith("or the VisualDL callback another log_dir, or move the log away.")
    (log,) = curves.glob("vdlrecords.*.log")
    before = log.read_bytes()
    with pytest.raises(CheckpointError, match="is that of the run whose checkpoints are"):
        fit(tmp_path / "other", {"callbacks": [hapi.VisualDL(str(curves))]})
    assert log.read_bytes() == before and read_scalars(log)


def test_two_processes_never_write_one_log(tmp_path: Path) -> None:
    curves = tmp_path / "curves"
    curves.mkdir()
    name = next(iter(_names(tmp_path)))
    hold = [sys.executable, "-c", HOLD, curves / name]
    holder = subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match="is being written by another process"):
            fit(tmp_path / "run", {"callbacks": [hapi.VisualDL(str(curves))]})
    finally:
        holder.communicate("")
    fit(tmp_path / "run", {"callbacks": [hapi.VisualDL(str(curves))]})


def _names(folder: Path) -> list[str]:
    fit(folder / "first", {"callbacks": [hapi.VisualDL(str(folder / "names"))]})
    return [path.name for path in (folder / "names").glob("vdlrecords.*.log")]


def test_an_error_names_what_a_fit_is_given(tmp_path: Path) -> None:
    fit(tmp_path, {})
    with pytest.raises(CheckpointError) as found:
        fit(tmp_path, {}, resume="none")
    told = str(found.value)
    assert 'resume="none" would write over' in told and "Add overwrite=True" in told and "--" not in told
    assert told.endswith("choose another ExactResume(name=) or ExactResume(save_dir=).")
    set_language("zh")
    try:
        assert "或者另选 ExactResume(name=) 或 ExactResume(save_dir=)" in shown(found.value)
    finally:
        set_language("en")
