"""Every system call of a save fails in turn: the save says so, nothing older is harmed, and the next one succeeds."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crash.content import leftovers, loadable, owners
from crash.sweep import SCENES, Lives, Scene, copy, memory, require_strace, saving  # noqa: F401
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.errors import SaveError

ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EMFILE", "EROFS")
STRUCK = ("openat", "fallocate", "write", "fsync", "rename", "unlink", "close", "mkdir")


class Sweep:
    """Makes one call after the other fail, in the trainer itself or in its writer process."""

    def __init__(self, folder: Path, strike: str, calls: tuple[str, ...] = STRUCK) -> None:
        self.struck: Counter[str] = Counter()
        self.failed: list[str] = []
        self.refused = 0
        self._folder, self._strike, self._calls = folder, strike, calls
        self._plain = Lives(folder)
        self._doomed = Lives(folder, strike, calls)

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *_: object) -> None:
        self._plain.__exit__()
        self._doomed.__exit__()

    def run(self, scene: Scene, share: float = 1.0, **more: Any) -> None:
        """Strike at every call of the scene, or at a share of them that is drawn by a fixed seed."""
        start = scene.prepare(self._plain, self._folder)
        draw = random.Random(f"{scene.name} {self._strike}")
        for call in self._calls:
            for nth in itertools.count(1):
                if nth > 60:
                    break
                if draw.random() >= share:
                    continue
                folder = copy(start, self._folder / f"{self._strike} {scene.name} {call} {nth} {more.get('mode')}")
                order = {"who": "inline", "again": True, **scene.order, **more, "call": call, "nth": nth}
                told = self._doomed.live(folder=str(folder), **order)
                line = self._doomed.struck()
                if line is None:
                    break
                self.struck[call] += 1
                self.refused += "error" in told
                point = f"{scene.name}, {self._strike}, {line.split(maxsplit=1)[1]}"
                self._judge(folder, scene, point, told)
                shutil.rmtree(folder, ignore_errors=True)

    def _judge(self, folder: Path, scene: Scene, point: str, told: dict[str, Any]) -> None:
        if not (told.get("saved") or told.get("error", "").startswith("Could not")):
            self.failed.append(f"{point}: {told}")
            return
        found = self._plain.live(act="check", folder=str(folder), keep=9)
        if "step" not in found or found["leftovers"]:
            self.failed.append(f"{point}: {found}")
        elif told.get("saved") and found["step"] != scene.new:
            self.failed.append(f"{point}: saved {scene.new}, and then {found}")
        elif "error" in told and not told["saved"]:
            self._judge_failure(scene, point, told, found)

    def _judge_failure(self, scene: Scene, point: str, told: dict[str, Any], found: dict[str, Any]) -> None:
        there = set(told["loadable"].values())
        if scene.before and not there & set(scene.outcomes):
            self.failed.append(f"{point}: after the error only {told['loadable']} could be loaded")
        # After the first rename the temporaries are half of a whole checkpoint, which the next start publishes.
        if told["leftovers"] and scene.new not in there:
            self.failed.append(f"{point}: after the error {told['leftovers']} were left")
        if found["step"] != 8:
            self.failed.append(f"{point}: the next save of the process was not the newest: {found}")


def report(capsys: pytest.CaptureFixture[str], what: str, struck: Counter[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}: {struck.total()} points ({', '.join(f'{k} {n}' for k, n in sorted(struck.items()))})")


@pytest.mark.parametrize(
    "error", [pytest.param(e, marks=() if e in ("EIO", "ENOSPC") else pytest.mark.full) for e in ERRORS]
)
def test_an_error_at_a_call_of_a_save_harms_nothing_and_the_next_save_succeeds(
    error: str, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    with Sweep(memory, f"error={error}") as sweep:
        for scene in SCENES.values():
            sweep.run(scene, share=0.12)
    report(capsys, f"{error} at calls drawn by a seed", sweep.struck)
    assert not sweep.failed
    assert sweep.struck.total() >= 10 and sweep.refused >= 5


@pytest.mark.full
@pytest.mark.parametrize("mode", ["inline", "fork"])
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("error", ERRORS)
def test_an_error_at_any_call_of_any_save_harms_nothing_and_the_next_save_succeeds(
    error: str, scene: str, mode: str, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    with Sweep(memory, f"error={error}") as sweep:
        sweep.run(SCENES[scene], mode=mode, who="writer" if mode == "fork" else "inline")
    report(capsys, f"{error} at every call ({scene}, {mode})", sweep.struck)
    assert not sweep.failed
    assert sweep.struck.total() >= 25 and sweep.refused >= 15


def test_a_call_that_a_signal_interrupts_is_made_again(memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_strace()
    calls = ("fallocate", "write", "fsync")
    with Sweep(memory, "error=EINTR", calls) as sweep:
        sweep.run(SCENES["over"])
    report(capsys, "EINTR", sweep.struck)
    assert not sweep.failed
    assert sweep.struck.total() >= 10 and sweep.refused == 0


def test_a_disk_that_lies_about_a_write_is_found_out_by_the_digest(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`write` says that it wrote 100 bytes, and wrote none."""
    require_strace()
    seen: Counter[str] = Counter()
    with Lives(memory) as plain, Lives(memory, "retval=100", ("write",)) as lying:
        start = SCENES["new"].prepare(plain, memory)
        for nth in itertools.count(1):
            folder = copy(start, memory / str(nth))
            order = {**SCENES["new"].order, "who": "inline", "call": "write", "nth": nth}
            assert lying.live(folder=str(folder), **order)["saved"]
            line = lying.struck()
            if line is None:
                break
            told = plain.live(act="restore", folder=str(folder))
            # The first is the note in the lock file, which only informs.
            assert told["step"] == (2 if '"pid"' in line or '\\"pid' in line else 1), (line, told)
            seen[f"restored {told['step']}"] += 1
    report(capsys, "lying writes", seen)
    assert seen["restored 1"] >= 8


def test_a_disk_that_fills_up_costs_no_older_checkpoint_and_serves_again_once_there_is_room(small_disk: Path) -> None:
    one = CheckpointEngine(small_disk, "run", keep=99, background=False)
    steps = 0
    with pytest.raises(SaveError, match="No space left on device; the save needs"):
        for steps in range(1000):
            one.save(steps, owners(steps))
    assert steps > 10
    assert loadable(small_disk) == {f"run_step{step}": step for step in range(steps)}
    assert not leftovers(small_disk)
    for path in small_disk.glob("run_step0.*"):
        path.unlink()
    for path in small_disk.glob("run_step1.*"):
        path.unlink()
    one.save(steps, owners(steps))
    one.close()
    assert loadable(small_disk) == {f"run_step{step}": step for step in range(2, steps + 1)}


def test_a_failure_that_harmed_an_older_checkpoint_would_be_noticed(memory: Path) -> None:
    """The negative control: a writer that writes in place loses the checkpoint when a call fails."""
    require_strace()
    with Sweep(memory, "error=EIO", ("write", "fsync")) as sweep:
        sweep.run(SCENES["over"], disk="in place", again=False)
    assert len([line for line in sweep.failed if "could be loaded" in line or "None of this run" in line]) >= 5


def test_an_error_at_any_call_of_a_tidying_up_loses_nothing_that_a_kill_had_left(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    seen: Counter[str] = Counter()
    failed = []
    calls = ("openat", "rename", "unlink", "fsync")
    with Lives(memory) as plain, Lives(memory, "signal=KILL") as doomed, Lives(memory, "error=EIO", calls) as failing:
        start = SCENES["over"].prepare(plain, memory)
        assert doomed.live(folder=str(start), **SCENES["over"].order, who="inline", call="rename", nth=2)["killed"]
        for call in calls:
            for nth in itertools.count(1):
                folder = copy(start, memory / f"{call} {nth}")
                told = failing.live(act="restore", who="inline", folder=str(folder), call=call, nth=nth)
                line = failing.struck()
                if line is None:
                    break
                seen[call] += 1
                again = plain.live(act="check", folder=str(folder), keep=9)
                if again.get("step") not in (1, 2) or again["leftovers"]:
                    failed.append(f"{line}: {told}, then {again}")
    report(capsys, "EIO while tidying up", seen)
    assert not failed
    assert seen.total() >= 20


def test_the_order_of_an_unreadable_moment_is_kept(memory: Path) -> None:
    """A record that cannot be read for a moment must not make the next checkpoint an older one."""
    require_strace()
    chain = Scene("chain", 3, 4, saving(4, keep=9), [saving(1, keep=9), saving(2, keep=9), saving(3, keep=9)])
    with Sweep(memory, "error=EIO", ("openat",)) as sweep:
        sweep.run(chain)
    assert not sweep.failed
    assert sweep.struck["openat"] >= 12
