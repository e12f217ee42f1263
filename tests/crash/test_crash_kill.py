"""Killed at every system call of a save: the newest checkpoint or the one before is there, bit for bit."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crash.content import leftovers, loadable
from crash.sweep import CALLS, SCENES, Lives, Scene, copy, environment, memory, require_strace, saving  # noqa: F401
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.errors import CheckpointError, SaveError
from paddle_resume.storage.lock import writing

# Who is struck: the trainer that saves by itself, its writer process (and the trainer goes on, or dies as well), or
# the trainer of a writer process that lives on for as long as it has to.
WHO: dict[str, dict[str, Any]] = {
    "inline": {"who": "inline"},
    "writer, and the trainer goes on": {"who": "writer", "mode": "fork", "again": True},
    "writer and trainer": {"who": "writer", "mode": "fork", "dies": True},
    "trainer, and the writer lives on": {"who": "trainer", "mode": "fork"},
}


class Sweep:
    """Strikes lives at every call, and looks at what each leaves."""

    def __init__(self, folder: Path) -> None:
        self.struck: Counter[str] = Counter()
        self.failed: list[str] = []
        self._folder = folder
        self._plain = Lives(folder)
        self._doomed = Lives(folder, "signal=KILL")

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *_: object) -> None:
        self._plain.__exit__()
        self._doomed.__exit__()

    def run(self, scene: Scene, who: str, share: float = 1.0, **more: Any) -> None:
        """Strike at every call of the scene, or at a share of them that is drawn by a fixed seed."""
        start = scene.prepare(self._plain, self._folder)
        draw = random.Random(f"{scene.name} {who}")
        for call in CALLS:
            seen: list[int] = []
            for nth in itertools.count(1):
                if nth > 1 and draw.random() >= share:
                    # Beyond the last call nothing is struck any more, which ends the sweep of this kind.
                    if nth > 60:
                        break
                    continue
                folder = copy(start, self._folder / f"{who} {scene.name} {call} {nth}")
                order = {**scene.order, **WHO[who], "call": call, "nth": nth, **more}
                told = self._doomed.live(folder=str(folder), **order)
                if not (told["killed"] or "was killed" in told.get("error", "")):
                    assert told.get("saved") or order["act"] == "restore", told
                    break
                self.struck[f"{who}: {call}"] += 1
                self._judge(folder, scene, f"{scene.name}, {who}, {call} {nth}", told, seen)
                shutil.rmtree(folder, ignore_errors=True)

    def _judge(self, folder: Path, scene: Scene, point: str, told: dict[str, Any], seen: list[int]) -> None:
        found = self._plain.live(act="check", folder=str(folder), keep=9)
        # A trainer that went on has saved step 8 meanwhile, and what it saw just after the kill is what counts.
        outcomes = [8] if "error" in told else scene.outcomes
        if "error" in told and not set(told["loadable"].values()) & set(scene.outcomes) and scene.before:
            self.failed.append(f"{point}: just after the kill only {told['loadable']} could be loaded")
        if "step" not in found or found["step"] not in outcomes:
            self.failed.append(f"{point}: {found}")
            return
        if found["leftovers"]:
            self.failed.append(f"{point}: {found['leftovers']} were left")
        if found["orphans"]:
            self.failed.append(f"{point}: {found['orphans']} have no record")
        seen.append(found["step"] or 0)
        if seen != sorted(seen):
            self.failed.append(f"{point}: a later kill found an older checkpoint: {seen}")


def report(capsys: pytest.CaptureFixture[str], what: str, struck: Counter[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}: {struck.total()} points ({', '.join(f'{k} {n}' for k, n in sorted(struck.items()))})")


def test_a_kill_at_any_call_of_a_save_over_an_existing_prefix_leaves_the_old_or_the_new(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    with Sweep(memory) as sweep:
        sweep.run(SCENES["over"], "inline")
    report(capsys, "killed at every call", sweep.struck)
    assert not sweep.failed
    assert sweep.struck.total() >= 45
    assert all(sweep.struck[f"inline: {call}"] >= 3 for call in CALLS if call not in ("unlink", "mkdir")), sweep.struck


def test_a_kill_at_calls_drawn_from_every_scene_leaves_the_one_before_or_the_new(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    with Sweep(memory) as sweep:
        for number, (who, scene) in enumerate(itertools.product(WHO, SCENES.values())):
            if (number + number // len(SCENES)) % 2:  # Half of the pairs: each of both sides in every second one.
                sweep.run(scene, who, share=0.06)
    report(capsys, "killed at calls drawn by a seed", sweep.struck)
    assert not sweep.failed
    assert sweep.struck.total() >= 40


@pytest.mark.full
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("scene", SCENES)
def test_a_kill_at_any_call_of_any_save_leaves_the_one_before_or_the_new(
    scene: str, who: str, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    with Sweep(memory) as sweep:
        sweep.run(SCENES[scene], who)
    report(capsys, f"killed at every call ({scene})", sweep.struck)
    assert not sweep.failed
    assert sweep.struck.total() >= 12


def test_a_kill_at_any_rename_of_a_tidying_up_is_made_good_by_the_next(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    with Sweep(memory) as sweep:
        for scene in cut_short(sweep._plain, sweep._doomed, memory):
            sweep.run(scene, "inline")
    report(capsys, "killed at every call of a restore that tidies up", sweep.struck)
    assert not sweep.failed
    assert sweep.struck.total() >= 60


def cut_short(plain: Lives, doomed: Lives, folder: Path) -> Iterator[Scene]:
    """Folders that a kill among the renames, and one among the removals, left; what is done there is a restore."""
    for name, call, nth in (("over", "rename", 2), ("prune", "unlink", 3)):
        scene = SCENES[name]
        left = copy(scene.prepare(plain, folder), folder / f"start {name} cut short")
        assert doomed.live(folder=str(left), **scene.order, who="inline", call=call, nth=nth)["killed"]
        assert leftovers(left)
        yield Scene(f"{name} cut short", scene.new, scene.new, {"act": "restore"})


def test_a_kill_loses_the_checkpoint_of_a_writer_that_writes_in_place(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The negative control: the same sweep must notice a loss."""
    require_strace()
    with Sweep(memory) as sweep:
        sweep.run(SCENES["over"], "inline", share=0.5, disk="in place")
    report(capsys, f"negative control, {len(sweep.failed)} losses", sweep.struck)
    assert len([line for line in sweep.failed if "None of this run's checkpoints is whole" in line]) >= 5


# ---------------------------------------------------------------- the real writer process, started as in a training


def paths_of(folder: Path, prefix: str) -> list[Path]:
    """What the writer touches and the trainer does not."""
    names = [f"{prefix}{suffix}" for suffix in (".pdparams", ".pdopt", ".pdema", ".pdstates")]
    return [folder / f".{name}.tmp" for name in names]


def traced(log: Path, order: dict[str, Any], paths: list[Path], inject: str = "") -> dict[str, Any]:
    """One life as a program of its own under strace, with a writer that it spawns."""
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    for path in paths:
        command += ["-P", str(path)]
    command += ["-e", f"inject={inject}"] if inject else []
    command += [sys.executable, "-m", "crash.lives", "once", json.dumps({"mode": "spawn", **order})]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def kill_spawned(memory: Path, share: int) -> tuple[int, list[str]]:
    """Strike the spawned writer at every `share`th call on its files; the trainer lives, is told, and saves again."""
    scene = SCENES["over"]
    failed = []
    with Lives(memory) as plain:
        start = scene.prepare(plain, memory)
        quiet = copy(start, memory / "quiet")
        log = memory / "log"
        assert traced(log, {**scene.order, "folder": str(quiet)}, paths_of(quiet, "run_epoch0"))["saved"]
        calls = [line.split()[1].partition("(")[0] for line in log.read_text().splitlines() if "(" in line]
        # The next writer opens the record as well, and would be struck too: `openat` is left to the forked one.
        every = [(call, calls[: i + 1].count(call)) for i, call in enumerate(calls) if call in CALLS[1:]]
        chosen = every[::share]
        for call, nth in chosen:
            folder = copy(start, memory / f"{call} {nth}")
            order = {**scene.order, "folder": str(folder), "again": True, "blind": True}
            told = traced(log, order, paths_of(folder, "run_epoch0"), f"{call}:signal=KILL:when={nth}")
            if "the process that writes checkpoints was killed" not in told.get("error", ""):
                failed.append(f"{call} {nth}: the trainer was told {told}")
                continue
            if loadable(folder).get("run_epoch0") not in (1, 2):
                failed.append(f"{call} {nth}: then {loadable(folder)} could be loaded")
            found = plain.live(act="check", folder=str(folder), keep=9)
            if found.get("step") != 8 or found["leftovers"]:
                failed.append(f"{call} {nth}: {found}")
    return len(chosen), failed


def test_a_killed_writer_process_is_named_to_the_trainer_whose_next_save_succeeds(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    count, failed = kill_spawned(memory, share=6)
    report(capsys, "spawned writer killed at calls", Counter({"points": count}))
    assert not failed
    assert count >= 2


@pytest.mark.full
def test_a_writer_process_killed_at_any_call_is_named_to_the_trainer_whose_next_save_succeeds(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_strace()
    count, failed = kill_spawned(memory, share=1)
    report(capsys, "spawned writer killed at every call", Counter({"points": count}))
    assert not failed
    assert count >= 12


# ---------------------------------------------------------------- two processes


def test_a_new_trainer_waits_for_the_writer_of_a_killed_one_and_finds_its_save_whole(memory: Path) -> None:
    with Lives(memory) as lives:
        start = SCENES["new"].prepare(lives, memory)
        order = saving(2, mode="fork", disk="slow", orphan="when it writes")
        assert lives.live(folder=str(start), **order)["killed"]
        assert leftovers(start), "the writer had nothing left to do"
        began = time.monotonic()
        told = lives.live(act="restore", folder=str(start))
        assert told["step"] == 2 and time.monotonic() - began > 0.2
        assert not leftovers(start)


def test_a_save_of_a_killed_trainer_that_had_not_begun_lands_whole_or_not_at_all(memory: Path) -> None:
    seen = Counter()
    with Lives(memory) as lives:
        start = SCENES["new"].prepare(lives, memory)
        for number in range(12):
            folder = copy(start, memory / str(number))
            assert lives.live(folder=str(folder), **saving(2, mode="fork", orphan="at once"))["killed"]
            told = lives.live(act="restore", folder=str(folder))
            assert told["step"] in (1, 2), told
            seen[told["step"]] += 1
            time.sleep(0.05)  # A writer that came late must not touch a run which another has taken over.
            again = lives.live(act="restore", folder=str(folder))
            assert again["step"] == told["step"] and not leftovers(folder)
    assert seen.total() == 12


def spawned(folder: Path, code: str) -> subprocess.Popen[str]:
    """A trainer of its own that runs `code` with a checkpointer `one` and answers by lines."""
    program = (
        "import sys; from crash.content import owners; from paddle_resume.checkpoint.engine import CheckpointEngine\n"
        f"one = CheckpointEngine(sys.argv[1], 'run')\n{code}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_trainer_in_the_folder_is_refused_by_pid_and_host_until_the_first_is_gone(memory: Path) -> None:
    first = spawned(memory, "one.save(1, owners(1)); print(one.wait(), flush=True); sys.stdin.read()")
    try:
        assert answer(first) == str(memory / "run_step1")
        with pytest.raises(CheckpointError) as caught:
            CheckpointEngine(memory, "run", background=False).save(2, {})
        assert f"pid {first.pid} on host {socket.gethostname()}" in str(caught.value)
        assert loadable(memory) == {"run_step1": 1}
    finally:
        first.kill()
        first.communicate()
    one = CheckpointEngine(memory, "run", background=False)
    one.save(2, {})
    one.close()


def test_the_writer_of_a_killed_trainer_that_has_not_begun_saves_nothing(memory: Path) -> None:
    """It is stopped before it takes the job, its trainer is killed, a new one takes over, and then it goes on."""
    first = spawned(
        memory,
        "import os, signal\n"
        "one.save(1, owners(1)); one.wait()\n"
        "print(one._writer._process.pid, flush=True); sys.stdin.readline()\n"
        "one.save(2, owners(2)); print('handed over', flush=True); sys.stdin.read()",
    )
    writer = int(answer(first))
    # The first save is durable, but its writer may not have tidied up behind it yet, for which it holds its lock.
    with writing(memory, "run"):
        pass
    os.kill(writer, signal.SIGSTOP)
    try:
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert answer(first) == "handed over"
        first.kill()
        first.wait()  # And no more: its writer, stopped, has the other end of its pipes.
        with Lives(memory) as lives:
            assert lives.live(act="restore", folder=str(memory))["step"] == 1
    finally:
        os.kill(writer, signal.SIGCONT)
    end = time.monotonic() + 20
    while Path(f"/proc/{writer}/cmdline").exists() and Path(f"/proc/{writer}/cmdline").read_bytes():
        assert time.monotonic() < end, "the writer has not ended"
        time.sleep(0.01)
    assert loadable(memory) == {"run_step1": 1} and not leftovers(memory)


@pytest.fixture
def saved_once(memory: Path) -> Iterator[tuple[CheckpointEngine, int]]:
    """An engine that has saved step 1, and the pid of its writer."""
    one = CheckpointEngine(memory, "run")
    try:
        one.save(1, {})
        one.wait()
        yield one, one._writer._process.pid
    finally:
        one.close()


def test_a_writer_killed_during_a_save_is_named_and_replaced(saved_once: tuple[CheckpointEngine, int]) -> None:
    one, writer = saved_once
    os.kill(writer, signal.SIGSTOP)
    one.save(2, {})
    os.kill(writer, signal.SIGKILL)
    with pytest.raises(SaveError, match=r"Could not save .*run_step2: the process that writes checkpoints was killed"):
        one.wait()
    one.save(3, {})
    assert one.wait() == one.prefix("step3")


def test_a_writer_killed_between_two_saves_is_replaced(saved_once: tuple[CheckpointEngine, int]) -> None:
    one, writer = saved_once
    os.kill(writer, signal.SIGKILL)
    os.waitid(os.P_PID, writer, os.WEXITED | os.WNOWAIT)  # It is dead, and its end of the line closed.
    one.save(2, {})
    assert one.wait() == one.prefix("step2")
