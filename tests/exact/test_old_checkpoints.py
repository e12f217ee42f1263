"""Checkpoints that the first version wrote still resume: every owner gets back what was saved, and the run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from paddle_resume.builders.run import build_run
from paddle_resume.checkpoint import owner_states
from paddle_resume.checkpoint.digested_file import SealedFile
from paddle_resume.checkpoint.record import decode_state
from paddle_resume.checkpoint.record_differences import state_differences
from paddle_resume.config import load_config
from paddle_resume.loggers import read_records
from paddle_resume.storage.framing import FramedFile

FORMAT_1 = ROOT / "tests" / "data" / "format1"
# What version 0.1.0 called otherwise in its records.
RENAMED = {"update.most", "update.micro_batch_size"}
# What it did not look for, or did not know.
NEW = ("environment.cpu_", "found: ", "gradients: ", "config.checkpoint.memory: None", "config.parallel.exchange: None")


@pytest.mark.parametrize("name", ["plain", "rich"])
def test_a_checkpoint_of_the_first_format_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FORMAT_1 / name / "checkpoint", tmp_path / "checkpoint")
    shutil.copytree(FORMAT_1 / name / "log", tmp_path / "log" / name)
    text = (FORMAT_1 / name / "run.yaml").read_text(encoding="utf-8")
    (tmp_path / "run.yaml").write_text(f"_base_: {ROOT / 'configs' / 'mnist.yaml'}\n{text}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PADDLE_RESUME_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = compared_restores(monkeypatch)
    run = build_run(load_config("run.yaml"), verbosity=0)

    run.train("auto", allow_inexact=True, overwrite=False)

    restored = run.trainer.restored
    assert restored is not None and restored.step == 30
    # Another Paddle tells of itself, and its generators and its optimizers' fields are others.
    others = ("environment.", "rng.", "settings.") if restored.differences else ()
    # What is only told of a machine is another on each: its kernel, and Python's smallest number.
    assert [one for one in found if not one.startswith((*others, "environment.os", "environment.python"))] == []
    assert {one.owner for one in restored.differences} <= {"environment", "settings"}, restored.differences
    assert run.trainer.phase == "done"
    is_another_machine = any(one.startswith("environment.os") for one in found)
    # Where they were written, the run ends as it did then; other processors of the same name have been seen to compute
    # otherwise.
    if not restored.differences and not is_another_machine:
        assert (tmp_path / f"{name}.pdparams").read_bytes() == (FORMAT_1 / name / "finished.pdparams").read_bytes()
        then, now = (read_records(folder / "metrics.jsonl") for folder in (FORMAT_1 / name / "log", Path("log") / name))
        assert now == then


def compared_restores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each restore from now on leaves in an owner that is not what was saved."""
    restore, found = owner_states.restore, []

    def restore_and_compare(owners: Any, states: dict[str, Any], tensors: dict[str, Any]) -> None:
        restore(owners, states, tensors)
        now, files = owner_states.capture(owners)
        entries = {suffix: SealedFile(FramedFile(content)).entry() for suffix, content in files.items()}
        differences = state_differences(states, tensors, decode_state(now), entries)
        found.extend(d for d in differences if not d.startswith(NEW) and not any(name in d for name in RENAMED))

    monkeypatch.setattr(owner_states, "restore", restore_and_compare)
    return found
