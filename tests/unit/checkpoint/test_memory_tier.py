"""Saves in memory count only as long as they continue what lies on disk; what a person took away stays away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import paddle
import pytest

from paddle_resume.checkpoint import memory_place, memory_tier
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.memory_place import all_places, remove_leftovers
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.differences import Difference
from paddle_resume.stateful import Owners
from paddle_resume.toolbox.listing import list_checkpoints


class Tensors:
    suffix = ".pdparams"

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"w": np.full((3, 4), self.value, np.float32), "b": np.array(self.value)}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        assert state["w"].shape == (3, 4) and state["b"].shape == ()
        self.value = float(state["w"][2, 3])


class Count:
    def __init__(self, step: int = 0) -> None:
        self.step = step

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


class Rate:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def state_dict(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return [] if state["rate"] == self.rate else [Difference("rate", state["rate"], self.rate)]


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in place of the machine's shared memory, of which a quarter is enough."""
    shared = Path("/dev/shm") / f"test-{os.getpid()}"
    shared.mkdir()
    monkeypatch.setattr(memory_place, "SHARED_MEMORY", shared)
    monkeypatch.setattr(memory_tier, "SHARED_MEMORY", shared)
    yield shared
    shutil.rmtree(shared)


class Run:
    """One process of the run: what it held, and its engine."""

    def __init__(self, folder: Path, rate: float = 0.1, name: str = "run", **options: Any) -> None:
        self.tensors, self.count = Tensors(), Count()
        self.owners = {"model": self.tensors, "count": self.count, "rate": Rate(rate)}
        self.engine = CheckpointEngine(folder / "checkpoint", name, background=False, **options)

    def at(self, step: int) -> None:
        self.count.step, self.tensors.value = step, step / 2

    def save(self, step: int) -> None:
        self.at(step)
        self.engine.save(step, self.owners)
        self.engine.wait()

    def keep(self, *steps: int) -> None:
        for step in steps:
            self.at(step)
            self.engine.save_in_memory(step, self.owners, phase="train")

    def die(self) -> None:
        """What is left of a process that was killed: its lock is free, and nothing else was done."""
        self.engine._home.release()

    def restore(self, resume: str = "auto", **options: Any) -> Optional[Restored]:
        found = self.engine.restore(self.owners, resume, **options)
        self.engine._home.release()
        assert found is None or (found.step, self.tensors.value) == (self.count.step, self.count.step / 2)
        return found


def killed(folder: Path, durable: Optional[int] = 2, steps: tuple[int, ...] = (3, 4, 5)) -> None:
    run = Run(folder)
    run.restore()
    if durable is not None:
        run.save(durable)
    run.keep(*steps)
    run.die()


def test_the_newest_save_is_gone_on_from_and_says_so(tmp_path: Path) -> None:
    killed(tmp_path)
    found = Run(tmp_path).restore()
    assert found is not None and found.step == 5
    assert found.source == f"memory (3 steps after {tmp_path / 'checkpoint' / 'run_step2'})"


def test_before_any_checkpoint_on_disk_it_is_all_there_is(tmp_path: Path) -> None:
    killed(tmp_path, durable=None)
    found = Run(tmp_path).restore()
    assert found is not None and (found.step, found.source) == (5, "memory (before any checkpoint on disk)")


def test_a_second_process_goes_on_in_the_same_memory(tmp_path: Path) -> None:
    killed(tmp_path)
    again = Run(tmp_path)
    again.restore()
    again.keep(6)
    again.die()
    found = Run(tmp_path).restore()
    assert found is not None and found.step == 6
    assert [event["step"] for event in again.engine.lineage.resumes] == [5]
    assert len(list(all_places())) == 1


def test_a_damaged_newer_save_leaves_the_older_one_and_two_leave_the_disk(tmp_path: Path, memory: Path) -> None:
    killed(tmp_path)
    (place,) = all_places()
    slots = sorted(place.folder.glob("slot*"), key=lambda path: path.stat().st_mtime_ns)
    for path, step in zip(reversed(slots), (4, 2)):
        content = bytearray(path.read_bytes())
        content[70] ^= 1
        path.write_bytes(content)
        found = Run(tmp_path).restore()
        assert found is not None and found.step == step


def newer_on_disk(folder: Path) -> None:
    run = Run(folder)
    run.save(7)
    run.die()


def newest_taken_away(folder: Path) -> None:
    for path in (folder / "checkpoint").glob("run_step2*"):
        path.unlink()


def folder_taken_away(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoint")


def folder_made_anew(folder: Path) -> None:
    (folder / "checkpoint").rename(folder / "old")
    shutil.copytree(folder / "old", folder / "checkpoint")


def pointer_taken_away(folder: Path) -> None:
    (folder / "checkpoint" / ".run.memory").unlink()


def other_boot(folder: Path) -> None:
    memory_tier._BOOT_ID = folder / "boot"
    memory_tier._BOOT_ID.write_text("another")


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (newer_on_disk, 7),
        (newest_taken_away, None),
        (folder_taken_away, None),
        (folder_made_anew, 2),
        (pointer_taken_away, 2),
        (other_boot, 2),
    ],
)
def test_what_a_person_changed_counts(
    change: Callable[[Path], None], step: Optional[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_tier, "_BOOT_ID", memory_tier._BOOT_ID)
    killed(tmp_path)
    change(tmp_path)
    found = Run(tmp_path).restore()
    assert (found and found.step) == step
    assert not list(all_places()) or remove_leftovers()
    assert not list(all_places())


def test_a_folder_that_was_moved_goes_on_from_disk(tmp_path: Path) -> None:
    killed(tmp_path)
    (tmp_path / "moved").mkdir()
    (tmp_path / "checkpoint").rename(tmp_path / "moved" / "checkpoint")
    found = Run(tmp_path / "moved").restore()
    assert found is not None and found.step == 2


def test_a_changed_run_goes_on_from_disk_by_the_rules_of_the_disk(tmp_path: Path) -> None:
    killed(tmp_path)
    with pytest.raises(Exception, match="rate"):
        Run(tmp_path, rate=0.2).restore()
    unchanged = Run(tmp_path).restore()  # That was refused, and has changed nothing.
    assert unchanged is not None and unchanged.step == 5


def test_an_allowed_change_begins_at_the_checkpoint_on_disk(tmp_path: Path) -> None:
    killed(tmp_path)
    found = Run(tmp_path, rate=0.2).restore(allow_inexact=True)
    assert found is not None and found.step == 2
    assert not list(all_places())


@pytest.mark.parametrize("way", ["named", "none", "off"])
def test_who_asks_for_another_start_gets_it(way: str, tmp_path: Path) -> None:
    killed(tmp_path)
    run = Run(tmp_path, memory=way != "off")
    if way == "none":
        run.engine.start_over(overwrite=True)
    else:
        found = run.restore(str(tmp_path / "checkpoint" / "run_step2") if way == "named" else "auto")
        assert found is not None and found.step == 2
    assert not list(all_places())


def test_after_another_start_it_continues_the_newest_on_disk(tmp_path: Path) -> None:
    """As the same command would: a person has named the older of two, from which the newer is not made again yet."""
    run = Run(tmp_path)
    for step in (2, 4):
        run.save(step)
    run.die()
    again = Run(tmp_path)
    assert again.restore(str(tmp_path / "checkpoint" / "run_step2")).step == 2  # type: ignore[union-attr]
    again.keep(3)
    again.die()
    found = Run(tmp_path).restore()
    assert found is not None and found.step == 3
    assert found.source == f"memory (saved after the run went back from {tmp_path / 'checkpoint' / 'run_step4'})"


def test_what_another_program_saved_is_another_start_too(tmp_path: Path) -> None:
    killed(tmp_path)
    paddle.save({"w": paddle.ones([3, 4]), "b": paddle.ones([])}, str(tmp_path / "theirs.pdparams"))
    paddle.save({}, str(tmp_path / "theirs.pdopt"))
    run = Run(tmp_path)
    run.engine.restore(Owners(**run.owners), str(tmp_path / "theirs"), allow_inexact=True, steps_per_epoch=1)
    assert not list(all_places())


def test_two_runs_in_one_folder_have_each_their_own(tmp_path: Path) -> None:
    for name, last in (("one", 5), ("two", 9)):
        run = Run(tmp_path, name=name)
        run.restore()
        run.keep(last)
        run.die()
    found = [Run(tmp_path, name=name).restore() for name in ("one", "two")]
    assert [each and each.step for each in found] == [5, 9]


def test_a_stop_that_saved_on_disk_gives_the_memory_back_and_a_kill_does_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.restore()
    run.keep(3)
    run.engine.close()
    assert len(list(all_places())) == 1
    again = Run(tmp_path)
    again.restore()
    again.save(4)
    again.engine.close()
    assert not list(all_places()) and not (tmp_path / "checkpoint" / ".run.memory").exists()


def test_what_nobody_comes_back_for_is_removed_at_the_next_start_of_any_run(tmp_path: Path, memory: Path) -> None:
    killed(tmp_path / "gone")
    killed(tmp_path / "dead")
    shutil.rmtree(tmp_path / "gone")
    other = Run(tmp_path / "other", name="other")
    other.restore()
    other.keep(1)
    assert sorted(Path(place.save_dir).parent.name for place in all_places()) == ["dead", "other"]


def test_another_users_folder_in_the_way_leaves_memory_alone(tmp_path: Path, memory: Path) -> None:
    home = memory / f"paddle_resume-{os.geteuid()}"
    home.mkdir()
    home.chmod(0o777)
    run = Run(tmp_path)
    run.restore()
    with pytest.raises(OSError, match="alone"):
        run.keep(1)


def test_a_state_that_would_take_too_much_is_refused_with_the_figures(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_place, memory_tier):
        monkeypatch.setattr(module, "SHARED_MEMORY", small_disk)
    run = Run(tmp_path)
    run.restore()
    run.keep(1)
    run.tensors.state_dict = lambda: {"w": np.zeros(100_000)}  # type: ignore[method-assign]
    with pytest.raises(OSError, match=r"two of them take .* and a quarter of what is free"):
        run.engine.save_in_memory(2, run.owners)


def test_the_list_of_a_folder_knows_what_is_in_memory(tmp_path: Path) -> None:
    killed(tmp_path)
    first, second = list_checkpoints(tmp_path / "checkpoint")
    assert (first.state, first.step, first.run, first.prefix) == ("in memory", 5, "run", "run (after run_step2)")
    assert (second.state, second.step) == ("complete", 2)
    newer_on_disk(tmp_path)
    assert {one.state for one in list_checkpoints(tmp_path / "checkpoint")} == {"complete"}
