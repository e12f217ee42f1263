"""Brings a run to where it goes on from: its checkpoint, changes made on purpose, and an end that is undone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Optional

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.choose import AUTO, steps_back
from paddle_resume.checkpoint.phases import DONE, FINISH
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.data.feed import Feed
from paddle_resume.lr.ways import WAYS
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.rng import preserved
from paddle_resume.training.loop import TrainingLoop
from paddle_resume.training.parts import RunParts
from paddle_resume.training.rate_ways import jump
from paddle_resume.training.resume_changes import ResumeChanges
from paddle_resume.training.run_length import RunLength


class Resume:
    """The resume of one call of `Trainer.train`; `trainer.restored` tells what came of it."""

    def __init__(
        self,
        trainer: Any,
        parts: RunParts,
        loop: TrainingLoop,
        feed: Feed,
        evaluation: Mapping[str, Feed],
        length: RunLength,
        changes: ResumeChanges,
        allow_inexact: bool,
    ) -> None:
        self._trainer = trainer
        self._parts = parts
        self._loop = loop
        self._owners = lambda: parts.all_owners(feed, evaluation)
        self._length = length
        self._changes = changes
        self._allow_inexact = allow_inexact
        self._has_undone_end = False
        self._schedulers = {name: one for name, one in parts.owners.items() if isinstance(one, SchedulerState)}
        for scheduler in self._schedulers.values():
            scheduler.on_change = changes.lr_change

    def begin(self, resume: str, overwrite: bool, doubt: str) -> None:
        """Bring every owner back to the checkpoint that `resume` means, or make ready for a fresh start.

        `doubt` is why no resume can be exact, or an empty text.
        """
        parts, trainer = self._parts, self._trainer
        trainer.restored = None
        parts.engine.prepare()  # Before the logs are cut: it says what is wrong with the folder of the checkpoints.
        run = parts.engine.folder / parts.engine.name
        parts.logbook.claim(run, make=False)
        if resume == "none":
            removed = parts.engine.start_over(overwrite)
            if removed:
                trainer.tell(f"Starting over: removed {removed} checkpoints of the run before.")
        else:
            trainer.restored = self._restore(self._further_back() if resume == AUTO else resume, self._allow_inexact)
        if trainer.restored is None:
            self._require_writable()
        parts.logbook.claim(run, make=True)
        if trainer.restored is None:
            parts.logbook.start_over()
        else:
            self._tell()
            self._go_on_if_wanted_longer()
            self._carry_out_changes()
            self._require_writable()
        parts.found.before_begin()
        with preserved():  # It runs at every start, so what it draws must not count.
            parts.hooks.call("on_train_begin")
        if (parts.found.begin() or parts.hooks.has_users("on_train_begin")) and trainer.restored is not None:
            # Nor what it changes: what it changed in the first start is in the checkpoint.
            self._restore(trainer.restored.again, True)
            self._go_on_if_wanted_longer(again=True)
            self._carry_out_changes()
        if doubt:
            parts.engine.lineage.inexact(parts.progress.step, doubt)
        restored = trainer.restored
        parts.made_again.begin(parts.progress.step, resumed=restored is not None, allow_inexact=self._allow_inexact)
        if restored is not None:
            if parts.logbook.losses:
                parts.engine.lineage.note(logs=parts.logbook.losses)
            self._tell_of_rate()
            self._loop.ending.restored()
            self._save_what_is_other(restored)

    def _require_writable(self) -> None:
        """Find now what the run could not write later; a log is no reason to stop one that goes on."""
        if self._parts.progress.phase != DONE:
            self._parts.logbook.make_ready(self._trainer.restored is not None)
            self._loop.finished.require_writable()

    def _restore(self, resume: str, allow_inexact: bool) -> Optional[Restored]:
        return self._parts.engine.restore(
            self._owners(),
            resume,
            allow_inexact=allow_inexact,
            wanted=self._changes.wanted,
            explain=lambda refusal: self._changes.explain(refusal, self._schedulers),
            steps_per_epoch=self._length.steps_per_epoch,
        )

    def _further_back(self) -> str:
        """Which checkpoint to go on from where the steps before the newest are to be made again."""
        parts, steps = self._parts, self._parts.monitoring.check_resume
        if steps is None:
            return AUTO
        prefix = parts.world.broadcast_object(steps_back(parts.engine.found(), steps) if parts.world.is_main else None)
        if prefix is None:
            return AUTO
        self._trainer.tell(f"trainer.check_resume: goes back to {prefix}, to make the steps after it again.")
        return str(prefix)

    def _tell(self) -> None:
        for line in self._trainer.restored.passed_over:
            self._trainer.tell(f"Passed over {line}.")
        if self._parts.found.note:
            self._trainer.tell(self._parts.found.note)

    def _carry_out_changes(self) -> None:
        with preserved():
            self._changes.carry_out(self._trainer, self._trainer.restored)

    def _tell_of_rate(self) -> None:
        """Tell, and record, what becomes of a learning rate that is another."""
        if not any(scheduler.is_changed for scheduler in self._schedulers.values()):
            return
        progress, way, rate = self._parts.progress, self._changes.lr_change, self._trainer.learning_rate
        self._parts.engine.lineage.note(lr={"way": way, "before": progress.learning_rate, "after": rate})
        if not self._loop.is_at_end:
            self._trainer.tell(f"Learning rate: {jump(progress.learning_rate, rate)} ({way}: {WAYS[way]}).")

    def _go_on_if_wanted_longer(self, again: bool = False) -> None:
        """A run that had come to its end goes on if it is wanted longer now, unless its patience had run out.

        Then it would end here however long it is, and it goes on only if its patience was changed.
        """
        progress = self._parts.progress
        has_begun_to_end = progress.phase in (FINISH, DONE) or progress.before_end is not None
        is_cut = self._parts.world.broadcast_object(self._parts.logbook.is_cut_before_end)
        if not has_begun_to_end or (self._loop.is_at_end and not is_cut):
            return
        stopped = self._why_patience_had_run_out()
        if not stopped or is_cut:
            self._has_undone_end = True
            self._loop.ending.undo()
        elif progress.phase == DONE and not again:
            self._trainer.tell(
                f"This run stopped early at step {progress.step}, because {stopped}. It stays as it is; to train on, "
                "change best.patience (in a config with --allow-change)."
            )

    def _why_patience_had_run_out(self) -> str:
        """Why it had before the evaluation that only the end of the run had brought; empty if it had not."""
        best = copy.copy(self._parts.monitoring.best)
        if best is None:
            return ""
        before = self._loop.ending.state_before("best")
        if before is not None:
            best.set_state_dict(before)
        return best.why_gave_up if best.gave_up else ""

    def _save_what_is_other(self, restored: Restored) -> None:
        """Save a run that was changed on purpose, and one whose checkpoint here is that of an end that was undone.

        A checkpoint of an exact run is not written over by one that is none.
        """
        saver, progress, best = self._loop.saver, self._parts.progress, self._parts.monitoring.best
        if restored.changes and progress.phase != DONE:
            saver.save_changes()
        elif self._has_undone_end and not restored.differences:
            if best is not None and best.step == progress.step:
                saver.save(BEST)
            if saver.is_scheduled:
                saver.save()
