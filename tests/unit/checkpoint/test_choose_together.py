"""Several processes choose one checkpoint: rank 0 decides, and the others read side by side with it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

from paddle_resume.checkpoint import choose as module
from paddle_resume.checkpoint.choose import AUTO, choose, choose_together
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.reader import Loaded, load
from paddle_resume.errors import CheckpointError
from paddle_resume.parallel.world import World


class Owner:
    suffix = ".pdparams"

    def __init__(self) -> None:
        self.value = np.zeros(100, np.float32)

    def state_dict(self) -> dict[str, Any]:
        return {"w": self.value}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["w"]


class Told:
    """What rank 0 tells all, in its order."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.more = threading.Condition()


class Beside(World):
    """One of two processes that are threads here."""

    def __init__(self, rank: int, told: Told) -> None:
        super().__init__(rank, 2)
        self._told, self._heard = told, 0

    def broadcast_object(self, value: Any) -> Any:
        with self._told.more:
            if self.is_main:
                self._told.values.append(value)
                self._told.more.notify_all()
            self._told.more.wait_for(lambda: len(self._told.values) > self._heard, timeout=10)
            self._heard += 1
            return self._told.values[self._heard - 1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    engine, owner = CheckpointEngine(tmp_path, "run", keep=3, background=False), Owner()
    for step in (1, 2):
        owner.value += step
        engine.save(step, {"model": owner})
    engine.close()
    return tmp_path


def chosen_by_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch, resume: str = AUTO
) -> tuple[list[Optional[Loaded]], list[Path]]:
    """What both have, and what rank 1 has read."""
    told, read = Told(), []
    found: list[Any] = [None, None]

    def noted(prefix: Path) -> Loaded:
        if threading.current_thread() is other:
            read.append(prefix)
        return load(prefix)

    def work(rank: int) -> None:
        found[rank] = choose_together(Beside(rank, told), lambda reading: choose(resume, folder, "run", reading))[0]

    monkeypatch.setattr(module, "load", noted)
    other = threading.Thread(target=work, args=[1])
    other.start()
    work(0)
    other.join(timeout=20)
    return found, read


def test_the_others_read_what_rank_0_reads_and_read_it_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for resume in (AUTO, str(folder), str(folder / "run_step2")):
        found, read = chosen_by_both(folder, monkeypatch, resume)
        assert [loaded and loaded.prefix.name for loaded in found] == ["run_step2"] * 2
        assert [prefix.name for prefix in read] == ["run_step2"]


def test_where_rank_0_passes_over_the_newest_the_others_follow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "run_step2.pdparams"
    file.write_bytes(file.read_bytes()[:-1])
    found, read = chosen_by_both(folder, monkeypatch)
    assert [loaded and loaded.prefix.name for loaded in found] == ["run_step1"] * 2
    assert [prefix.name for prefix in read] == ["run_step2", "run_step1"]
    assert found[1] is not None and found[1].tensors[".pdparams"]["w"][0] == 1


def test_where_there_is_none_all_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_by_both(tmp_path, monkeypatch) == ([None, None], [])


def test_a_process_that_sees_another_save_says_so(folder: Path, tmp_path: Path) -> None:
    told, name = Told(), folder / "run_step2"
    loaded = load(name)
    told.values = [name, (name, {**loaded.record.files, ".other": None})]
    with pytest.raises(CheckpointError, match=r"rank 0 resumes from .*another save than rank 0 sees"):
        choose_together(Beside(1, told), lambda reading: (None, []))
