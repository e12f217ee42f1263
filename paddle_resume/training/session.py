"""One call of `Trainer.train`: the processes start together, the run is resumed, trained, and left as it should be."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.phases import DONE, FINISH
from paddle_resume.data.feed import Feed
from paddle_resume.errors import SaveError
from paddle_resume.parallel.world import compare
from paddle_resume.rng import preserved
from paddle_resume.stateful import Compared
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.interrupt import Interruption
from paddle_resume.training.parts import RunParts
from paddle_resume.training.resume_changes import ResumeChanges
from paddle_resume.training.run_length import RunLength


class Session:
    """A run from a start to its end, or to the next interruption; `trainer` is told what came of the resume."""

    def __init__(
        self, trainer: Any, parts: RunParts, feed: Feed, evaluation: Mapping[str, Feed], length: RunLength
    ) -> None:
        self.length = length
        self._trainer = trainer
        self._parts = parts
        self._feed = feed
        self._evaluation = evaluation
        heart = Heartbeat.from_environment(parts.world.rank)
        heart.beat(parts.progress.step, "start")
        self.loop = parts.loop(feed, evaluation, length, heart)

    def run(self, resume: str, *, allow_inexact: bool, overwrite: bool, changes: ResumeChanges) -> None:
        """Train to the end; see `Trainer.train`."""
        parts, loop = self._parts, self.loop
        parts.optimizer_step.micro_batch_size = -(-self._feed.batch_size // parts.data_parallel.size)
        self._start_together(allow_inexact)
        for note in (self._feed.note, parts.precision.note, parts.optimizer_step.note(self._trainer.model)):
            if note:
                self._trainer.tell(note)
        failed: Optional[SaveError] = None
        with parts.signals, self._closing():
            try:
                self._resume(resume, allow_inexact, overwrite, changes)
                with preserved():  # It runs at every start, so what it draws must not count.
                    parts.hooks.call("on_train_begin")
                loop.run()
                loop.saver.collect(wait=True)
                # Nobody ends, and lets the launcher end the others, before all has been saved.
                failed = parts.world.broadcast_object(parts.saver.failed)
            except Interruption:
                self._save_and_leave()
        if failed is not None:
            raise failed

    def _start_together(self, allow_inexact: bool) -> None:
        """Have all processes begin with the same weights, the same data and config, and randomness of their own."""
        parts = self._parts
        if parts.world.is_single:
            return
        if not allow_inexact:
            owners = parts.all_owners(self._feed, self._evaluation)
            compare(parts.world, {n: o for n, o in owners.items() if isinstance(o, Compared) and n != "rng"})
        if parts.mesh is None:
            parts.world.broadcast(list(self._trainer.model.state_dict().values()))
        parts.random.start_rank()

    def _resume(self, resume: str, allow_inexact: bool, overwrite: bool, changes: ResumeChanges) -> None:
        """Bring every owner back to the checkpoint that `resume` means, or make ready for a fresh start."""
        parts, trainer = self._parts, self._trainer
        trainer.restored = None
        parts.logbook.claim(parts.engine.folder / parts.engine.name)
        if resume == "none":
            removed = parts.engine.start_over(overwrite)
            if removed:
                trainer.tell(f"Starting over: removed {removed} checkpoints of the run before.")
        else:
            trainer.restored = parts.engine.restore(
                parts.all_owners(self._feed, self._evaluation),
                resume,
                allow_inexact=allow_inexact,
                wanted=changes.wanted,
                steps_per_epoch=self.length.steps_per_epoch,
            )
        if trainer.restored is None:
            parts.logbook.start_over()
            return
        for line in trainer.restored.passed_over:
            trainer.tell(f"Passed over {line}.")
        has_begun_to_end = parts.progress.phase in (FINISH, DONE) or parts.progress.before_end is not None
        if has_begun_to_end and not self.loop.is_at_end:
            self._go_on_unless_stopped_early()
        with preserved():
            changes.carry_out(trainer, trainer.restored)
        if trainer.restored.changes and parts.progress.phase != DONE:
            self.loop.saver.save_changes()

    def _go_on_unless_stopped_early(self) -> None:
        """The run had come to its end, and is now wanted longer, unless its patience had run out: then it would end
        here however long it is, and it goes on only if its patience was changed."""
        progress, saver = self._parts.progress, self.loop.saver
        stopped = self._patience_had_run_out()
        if stopped and progress.phase == DONE:
            self._trainer.tell(
                f"This run stopped early at step {progress.step}, because {stopped}. It stays as it is; to train on, "
                "change best.patience (in a config with --allow-change)."
            )
        elif not stopped:
            self.loop.ending.undo()
            # What is there of this step is a run at its end, to which no rollback may go back.
            best = self._parts.monitoring.best
            if best is not None and best.step == progress.step:
                saver.save(BEST)
            if saver.is_scheduled:
                saver.save()

    def _patience_had_run_out(self) -> str:
        """Why it had before the evaluation that only the end of the run had brought; empty if it had not."""
        best = copy.copy(self._parts.monitoring.best)
        if best is None:
            return ""
        before = self.loop.ending.state_before("best")
        if before is not None:
            best.set_state_dict(before)
        return best.why_gave_up if best.gave_up else ""

    def _save_and_leave(self) -> None:
        """After a signal: save this step, if it is not saved yet, and end as a process ends that got the signal."""
        parts, progress = self._parts, self._parts.progress
        if parts.world.broadcast_object(not parts.saver.has_saved(progress.step, progress.phase)):
            self.loop.saver.save()
        self.loop.saver.collect(wait=True)
        saved = "" if parts.saver.failed is None else " That step could not be saved."
        self._trainer.tell(f"Stopped after step {progress.step}.{saved} Run the same command again to continue.")
        parts.world.agree()
        parts.signals.leave()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """At the end, however it comes, callbacks, logs and the engine are closed."""
        try:
            yield
        finally:
            self._parts.hooks.call("on_train_end")
            self._parts.logbook.close()
            try:
                self._parts.engine.close()
            except SaveError as error:  # Of tidying up after the last save, which itself was collected before.
                self._trainer.tell(str(error))
