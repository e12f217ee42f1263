"""Trainings of the real suites, killed and stopped in the middle. .ci/suites installs the suites; elsewhere they skip.

Checkouts are taken from the folders that PADDLE_RESUME_DETECTION, _SEG, _CLAS, _OCR and _SPEECH name.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import suite_pictures
import suite_speech
from real_suites import SUITES, interrupted, said, straight, wrapped
from suite_outputs import differences, outputs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    suite_pictures.make(folder)
    suite_speech.make(folder)
    return folder


@pytest.mark.parametrize("name", SUITES)
def test_all_outputs_of_a_killed_training_are_those_of_a_straight_one(name: str, data: Path, tmp_path: Path) -> None:
    suite = SUITES[name]
    if suite.missing:
        pytest.skip(suite.missing)
    whole = straight(suite, data, tmp_path / "straight")
    assert outputs(whole)
    # Without this nothing could be said of the others.
    again = straight(suite, data, tmp_path / "again")
    assert [] in (differences(whole, again, unwrapped=True), differences(again, whole, unwrapped=True))
    assert differences(whole, wrapped(suite, data, tmp_path / "wrapped"), unwrapped=True) == []
    folder = tmp_path / "killed"
    killed_from, stopped_from = suite.interrupted_from
    assert interrupted(suite, data, folder, killed_from, signal.SIGKILL) == -signal.SIGKILL, said(folder)[-4000:]
    assert differences(whole, folder / "out") != []
    stopped = interrupted(suite, data, folder, stopped_from, signal.SIGTERM)
    assert stopped == 128 + signal.SIGTERM, said(folder)[-4000:]
    assert differences(whole, wrapped(suite, data, folder), unwrapped=True) == []
    assert said(folder).count("Resumed from") == 2
