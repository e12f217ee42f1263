"""Runs a training program in this process and sends it a signal, most often SIGKILL, at one chosen point of its work.

    python -m paddle_resume.testing.harness PLAN.json program.py [arguments]

The plan (see `Plan`) is written by `proof`. Nothing is mocked: the program is the user's, the signal is real and
takes the process where it stands. Besides, each restore is checked on the spot: what every owner holds afterwards
must be what was saved, and the first owner for which it is not is written to the plan's report. Among several
processes each has its own plan, and rank 0 checks for all.
"""

from __future__ import annotations

import faulthandler
import os
import runpy
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Optional

import psutil

from paddle_resume.testing.kill_plan import TELL_WHERE, Kill, Plan


class _Executioner:
    """Counts the passes through the planned point once it is armed, and sends the signal at the planned one."""

    def __init__(self, kill: Kill, came: Path) -> None:
        self._kill = kill
        self._came = came
        self._left = kill.count
        self._armed = kill.after == 0
        self._step: Optional[int] = None
        self._is_done = False

    @property
    def armed(self) -> bool:
        """Whether the run has come far enough for the kill."""
        return self._armed

    def begin(self, step: int) -> None:
        self._step = step
        # Not only in that very step: a life may begin behind it, after a kill at a time.
        self._armed = self._armed or step >= self._kill.after
        if self._kill.moment == "begin" and self._armed:
            self._strike()

    def count_loss(self, step: int) -> None:
        # That of an evaluation is counted under a step that has not begun.
        if self._kill.moment == "step" and self._armed and step == self._step:
            self._strike()

    def pass_by(self, moment: str) -> None:
        if self._armed and moment == self._kill.moment:
            self._left -= 1
            if self._left <= 0:
                self._strike()

    def _strike(self) -> None:
        if self._is_done:
            return
        self._is_done = True
        if self._kill.is_stop and self._step is not None:
            self._came.write_text(str(self._step), encoding="utf-8")
        if self._kill.signum == signal.SIGINT:
            # Ctrl-C reaches the writer and the data workers as well.
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGINT)
        os.kill(os.getpid(), self._kill.signum)


def install(plan: Plan) -> None:
    """Put the planned kill and omissions into the classes of this process."""
    from paddle_resume.checkpoint import owner_states
    from paddle_resume.training.kept_fingerprints import KeptFingerprints

    owner_states.restore = _checked(owner_states, plan)
    if plan.trace is not None:
        from paddle_resume.testing.step_trace import StepTrace

        StepTrace(Path(plan.trace), plan.look_into).install()
    if plan.forget:
        # What is to be seen is that the comparison finds it: the resume itself must not have found it before.
        _before(KeptFingerprints, "begin", lambda kept, *_: kept.forget())
    if plan.kill is not None:
        executioner = _Executioner(plan.kill, plan.came)
        _arm(executioner)
        if plan.kill.moment in ("save", "orphan"):
            _arm_writer(executioner, plan.kill, Path(f"{plan.report}.armed"))


def _arm(executioner: _Executioner) -> None:
    from paddle_resume.checkpoint.engine import CheckpointEngine
    from paddle_resume.data.feed import Feed
    from paddle_resume.metrics import RunningMetrics
    from paddle_resume.parallel.per_rank import PerRank
    from paddle_resume.rng import RandomStreams

    _before(RandomStreams, "begin_step", lambda streams, step: executioner.begin(step))
    _before(RunningMetrics, "add_loss", lambda metrics, step, *_: executioner.count_loss(step))
    _before(Feed, "finish_epoch", lambda *_: executioner.pass_by("epoch"))
    _before(PerRank, "prepare_save", lambda *_: executioner.pass_by("gather"))
    restore, round_robin = CheckpointEngine.restore, Feed.round_robin

    def restore_then_pass(self: Any, *args: Any, **options: Any) -> Any:
        restored = restore(self, *args, **options)
        executioner.pass_by("start")
        return restored

    def batches_passing(self: Any) -> Any:
        for batch in round_robin(self):
            executioner.pass_by("evaluate")
            yield batch

    CheckpointEngine.restore = restore_then_pass  # type: ignore[method-assign]
    Feed.round_robin = batches_passing  # type: ignore[method-assign]


def _arm_writer(executioner: _Executioner, kill: Kill, marker: Path) -> None:
    """Have the writer process kill the trainer, and itself too unless it is to be an orphan, within a save."""
    from paddle_resume.checkpoint import writer_process

    def command(connection: int, block: int) -> list[str]:
        module = [sys.executable, "-m", "paddle_resume.testing.harness", "--writer", kill.moment, str(marker)]
        return [*module, str(connection), str(block), str(os.getpid())]

    def mark(*_: Any) -> None:
        if executioner.armed:
            marker.write_text(str(kill.count), encoding="utf-8")

    if kill.is_stop:
        for writer in (writer_process.BackgroundWriter, writer_process.InlineWriter):
            _before(writer, "submit", lambda *_: executioner.pass_by("save"))
        return
    writer_process.writer_command = command
    _before(writer_process.BackgroundWriter, "submit", mark)


def _write_until_killed(moment: str, marker: Path, connection: int, block: int, trainer: int) -> None:
    """The writer process, which counts its system calls once the trainer has left the marker."""
    from multiprocessing.connection import Connection

    from paddle_resume.checkpoint import writer_process
    from paddle_resume.storage.durable_files import FileSystem

    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        if not marker.exists():
            return
        calls += 1
        if calls == int(marker.read_text(encoding="utf-8")):
            marker.unlink()
            os.kill(trainer, signal.SIGKILL)
            if moment == "save":
                os.kill(os.getpid(), signal.SIGKILL)

    for call in ("create", "reserve", "write", "fsync", "close", "rename", "unlink", "fsync_folder"):
        _before(FileSystem, call, count)
    writer_process.serve(Connection(connection), block, trainer)


def _before(owner: type, method: str, action: Callable[..., None]) -> None:
    original = getattr(owner, method)

    @wraps(original)
    def with_action(*args: Any, **options: Any) -> Any:
        action(*args)
        return original(*args, **options)

    setattr(owner, method, with_action)


def _checked(owner_states: Any, plan: Plan) -> Callable[..., None]:
    """The engine's restore, without the owners to be forgotten, followed by a comparison with the record."""
    from paddle_resume.checkpoint.digested_file import SealedFile
    from paddle_resume.checkpoint.record import decode_state
    from paddle_resume.checkpoint.record_differences import state_differences
    from paddle_resume.parallel.world import World
    from paddle_resume.stateful import Owners
    from paddle_resume.storage.framing import FramedFile

    restore = owner_states.restore

    def restore_and_compare(owners: Owners, states: dict[str, Any], tensors: dict[str, Any]) -> None:
        restore(Owners(**{n: o for n, o in owners.items() if n not in plan.forget}), states, tensors)
        world = World.current()
        if not world.is_single:
            owner_states.prepare(owners)  # All of them tell rank 0 what they hold.
        if not world.is_main or not tensors:
            return  # Where only an end is undone, looking at what was put aside for it would put it aside again.
        now, files = owner_states.capture(owners)
        entries = {suffix: SealedFile(FramedFile(content)).entry() for suffix, content in files.items()}
        cut = {name for name, owner in owners.items() if getattr(owner, "is_cut_before_end", False)}
        before, after = ({n: s for n, s in each.items() if n not in cut} for each in (states, decode_state(now)))
        if _made_at_begin(before) and not _made_at_begin(after):
            return  # There is another restore when callbacks have made what is theirs.
        found = next(state_differences(before, tensors, after, entries), None)
        if found is not None:
            with Path(plan.report).open("a", encoding="utf-8") as report:
                report.write(f"after the restore, {found}\n")

    return restore_and_compare


def _made_at_begin(states: dict[str, Any]) -> list[Any]:
    """What was found that callbacks make as a run begins."""
    return [path for rank in states.get("found", {}).get("ranks", ()) for path in (rank or {}).get("late", ())]


def main(arguments: list[str]) -> None:
    if arguments[0] == "--writer":
        _write_until_killed(arguments[1], Path(arguments[2]), *map(int, arguments[3:]))
        return
    plan, program = Plan.read(Path(arguments[0])), arguments[1:]
    if TELL_WHERE is not None:
        faulthandler.register(TELL_WHERE)
    # Behind a shell it is ignored, by children too; a stop by it is to be as at a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import paddle_resume  # noqa: F401 (its CPU set-up comes before Paddle)

    install(plan)
    if program[0] == "-m":
        sys.argv = program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        sys.path.insert(0, str(Path(program[0]).resolve().parent))
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
