"""The power is cut during a save: the newest acknowledged checkpoint or the one under way is there, bit for bit."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crash.content import NAME, leftovers, owners, require_state_of
from crash.model import Cut, InPlace, Journal, NoFileSync, NoFolderSync, Recorder, crash_states
from crash.sweep import SCENES, Lives, Scene, environment, memory, require_strace  # noqa: F401
from paddle_resume.checkpoint import commit, run_folder, writer_process
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.save_job import execute
from paddle_resume.errors import CheckpointError
from paddle_resume.storage import lock
from paddle_resume.storage.durable_files import make_folder


def save(folder: Path, step: int, tag: str | None = None, keep: int = 2) -> None:
    one = CheckpointEngine(folder, NAME, keep=keep, background=False)
    try:
        one.save(step, owners(step), tag=tag)
    finally:
        one.close()


def restored(folder: Path) -> int | None:
    """The step that a restore finds, every bit compared."""
    one = CheckpointEngine(folder, NAME, background=False)
    mine = owners()
    try:
        found = one.restore(mine)
    finally:
        one.close()
    if found is None:
        return None
    require_state_of(found.step, mine)
    return found.step


@contextlib.contextmanager
def on_disk(disk: Recorder) -> Iterator[None]:
    functions = {name: functools.partial(vars(commit)[name], disk=disk) for name in ("remove", "recover")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "commit", SimpleNamespace(**functions))
        patch.setattr(lock, "make_folder", functools.partial(make_folder, disk=disk))
        patch.setattr(writer_process, "execute", functools.partial(execute, disk=disk))
        yield


def prepared(scene: Scene, folder: Path) -> Path:
    for order in scene.earlier:
        save(folder, order["step"], order.get("tag"))
    return folder


def play(scene: Scene, folder: Path, disk: Recorder) -> None:
    with on_disk(disk):
        save(folder, scene.new, scene.order.get("tag"), scene.order.get("keep", 2))


class Proof:
    """Makes the folders that a power cut may leave, and restores from each."""

    def __init__(self, folder: Path) -> None:
        self.states: Counter[str] = Counter()
        self.failed: list[str] = []
        self._folder = folder
        self._known: dict[tuple[Any, ...], str] = {}
        self._draw = random.Random(7)

    def cut_everywhere(self, journal: Journal, scene: Scene, since: int = 0, most: int = 24) -> None:
        """Cut the power after each change; after the last one the save is acknowledged."""
        for after in range(since, len(journal.changes) + 1):
            allowed = {scene.new} if after == len(journal.changes) else {scene.before, scene.new}
            for state in crash_states(journal, after, self._draw, most):
                self._judge(state, allowed, f"{scene.name}, cut after {journal.changes[after - 1 : after]}")

    def _judge(self, state: dict[str, bytes] | None, allowed: set[int | None], point: str) -> None:
        self.states["all"] += 1
        key = (state is None, *sorted((state or {}).items()))
        if key not in self._known:
            self.states["different"] += 1
            self._known[key] = self._look(state)
        if self._known[key] not in {str(step) for step in allowed}:
            self.failed.append(f"{point}: {sorted(state or {})} gives {self._known[key]} and not {allowed}")

    def _look(self, state: dict[str, bytes] | None) -> str:
        folder = self._folder / f"state {self.states['different']}"
        if state is not None:
            folder.mkdir()
            for name, raw in state.items():
                (folder / name).write_bytes(raw)
        try:
            step = restored(folder)
            if leftovers(folder):
                return f"{step}, and left {leftovers(folder)}"
            if self.states["different"] % 5 == 0:  # And the training goes on from there.
                save(folder, 9)
                assert restored(folder) == 9
        except (CheckpointError, AssertionError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return str(step)


def report(capsys: pytest.CaptureFixture[str], what: str, proof: Proof) -> None:
    with capsys.disabled():
        print(
            f"\n{what}: {proof.states['all']} crash states, {proof.states['different']} of them different, "
            f"{len(proof.failed)} losses"
        )


@pytest.mark.parametrize("scene", SCENES)
def test_a_power_cut_during_a_save_leaves_the_acknowledged_checkpoint_or_the_new(
    scene: str, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepared(SCENES[scene], memory / "deep" / "run")
    proof, journal = Proof(memory), Journal(folder)
    play(SCENES[scene], folder, Recorder(journal))
    proof.cut_everywhere(journal, SCENES[scene])
    report(capsys, f"power cut ({scene})", proof)
    assert not proof.failed
    assert proof.states["different"] >= 30


@pytest.mark.full
@pytest.mark.parametrize("scene", SCENES)
def test_a_power_cut_in_many_more_ways_leaves_the_acknowledged_checkpoint_or_the_new(
    scene: str, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepared(SCENES[scene], memory / "deep" / "run")
    proof, journal = Proof(memory), Journal(folder)
    play(SCENES[scene], folder, Recorder(journal))
    proof.cut_everywhere(journal, SCENES[scene], most=2000)
    report(capsys, f"power cut in many ways ({scene})", proof)
    assert not proof.failed
    assert proof.states["different"] >= 60


@pytest.mark.parametrize("scene", ["over", "prune"])
def test_a_power_cut_after_a_kill_and_during_the_tidying_up_loses_nothing(
    scene: str, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice unlucky: what the killed process had not fsynced is seen by the next, and is not on the disk."""
    proof = Proof(memory)
    for lives in range(1, 100):
        folder = prepared(SCENES[scene], memory / f"killed {lives}")
        journal = Journal(folder)
        with contextlib.suppress(Cut):
            play(SCENES[scene], folder, Recorder(journal, lives))
        if len(journal.changes) < lives:
            break
        since = len(journal.changes)
        with on_disk(Recorder(journal)):
            step = restored(folder)
        if since < len(journal.changes):
            # Once it has resumed from a checkpoint, the run may not fall back behind it: what follows is built on it.
            told = Scene(scene, SCENES[scene].before, step or 0, {})
            proof.cut_everywhere(journal, told, since + 1, most=8)
    report(capsys, f"kill, then power cut ({scene})", proof)
    assert not proof.failed
    assert proof.states["different"] >= 30


CONTROLS = {"files not fsynced": NoFileSync, "folder not fsynced": NoFolderSync, "written in place": InPlace}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_writer_that_leaves_something_out_is_found_to_lose_checkpoints(
    control: str, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The negative control: the same proof must notice."""
    folder = prepared(SCENES["over"], memory / "run")
    proof, journal = Proof(memory), Journal(folder)
    play(SCENES["over"], folder, CONTROLS[control](journal))
    proof.cut_everywhere(journal, SCENES["over"])
    report(capsys, f"negative control ({control})", proof)
    assert len(proof.failed) >= 3


# ---------------------------------------------------------------- a real file system on an image


@contextlib.contextmanager
def mounted(image: Path, point: Path) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", image, point], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"an image cannot be mounted here: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def ext4(folder: Path, scene: Scene) -> Path:
    """An image of an ext4 file system with the scene's folder, unmounted and so durable."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting an ext4 image needs root and mkfs.ext4")
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(image, folder / "disk") as disk:
        prepared(scene, disk / "run")
    return image


def cut(image: Path, folder: Path, order: dict[str, Any], inject: str) -> Path:
    """The image as a power cut leaves it that comes together with a kill of the process."""
    before, after = folder / "before", folder / "after"
    subprocess.run(["cp", "--sparse=always", image, before], check=True)
    with mounted(before, folder / "disk") as disk:
        order = {"who": "inline", **order, "folder": str(disk / "run")}
        command = ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(disk / "run")]
        for suffix in (".pdparams", ".pdopt", ".pdema", ".pdstates"):
            command += ["-P", str(disk / "run" / f".run_epoch0{suffix}.tmp")]
        command += ["-e", f"inject={inject}"] if inject else []
        subprocess.run(
            [*command, sys.executable, "-m", "crash.lives", "once", json.dumps(order)],
            env=environment(),
            capture_output=True,
            timeout=60,
        )
        subprocess.run(["cp", "--sparse=always", before, after], check=True)  # Before the unmount writes all.
    return after


@pytest.mark.full
def test_a_power_cut_of_a_real_file_system_leaves_the_old_or_the_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    scene = SCENES["over"]
    image = ext4(tmp_path, scene)
    seen = []
    points = [("write", 1), ("fsync", 1), ("write", 4), ("fsync", 2), ("fsync", 3), ("rename", 1), ("rename", 2)]
    points += [("rename", 3), ("fsync", 4), ("", 0)]
    for call, nth in points:
        after = cut(image, tmp_path, scene.order, f"{call}:signal=KILL:when={nth}" if call else "")
        with mounted(after, tmp_path / "disk") as disk:
            seen.append(restored(disk / "run"))
    with capsys.disabled():
        print(f"\npower cut of ext4: {len(points)} points, restored {seen}")
    assert seen[-1] == 2 and set(seen) == {1, 2} and seen == sorted(seen)


@pytest.mark.full
def test_a_power_cut_of_a_real_file_system_loses_what_was_not_fsynced(tmp_path: Path) -> None:
    """The negative control: a save that is acknowledged and not durable is not there."""
    require_strace()
    scene = SCENES["over"]
    after = cut(ext4(tmp_path, scene), tmp_path, {**scene.order, "disk": "unsynced"}, "")
    with mounted(after, tmp_path / "disk") as disk:
        assert restored(disk / "run") == 1
