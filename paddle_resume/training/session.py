"""One call of `Trainer.train`: the processes start together, the run is resumed, trained, and left as it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

from paddle_resume.command_line import run_again
from paddle_resume.data.feed import Feed
from paddle_resume.errors import DataError, SaveError
from paddle_resume.parallel.world import compare
from paddle_resume.stateful import Compared
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.build_loop import build_loop
from paddle_resume.training.first_samples import try_first_samples
from paddle_resume.training.found_in_run import FOUND
from paddle_resume.training.interrupt import Interruption
from paddle_resume.training.parts import RunParts
from paddle_resume.training.resume import Resume
from paddle_resume.training.resume_changes import ResumeChanges
from paddle_resume.training.run_length import RunLength

_EACH_ITS_OWN = ("rng", FOUND)  # owners whose states differ from process to process


class Session:
    """A run from a start to its end, or to the next interruption."""

    def __init__(
        self, trainer: Any, parts: RunParts, feed: Feed, evaluation: Mapping[str, Feed], length: RunLength
    ) -> None:
        self.length = length
        self._trainer = trainer
        self._parts = parts
        self._feed = feed
        self._evaluation = evaluation
        trainer.model.train()
        parts.found.look({"train": feed, **evaluation})
        heart = Heartbeat.from_environment(parts.world.rank)
        heart.beat(parts.progress.step, "start")
        self.loop = build_loop(parts, feed, evaluation, length, heart)

    def run(self, resume: str, *, allow_inexact: bool, overwrite: bool, changes: ResumeChanges) -> None:
        """Train to the end; see `Trainer.train`."""
        parts, loop = self._parts, self.loop
        parts.optimizer_step.micro_batch_size = -(-self._feed.batch_size // parts.shares_in_all)
        self._start_together(allow_inexact)
        for note in (self._feed.note, parts.precision.note, parts.optimizer_step.note(self._trainer.model)):
            if note:
                self._trainer.tell(note)
        if parts.elastic is not None:
            parts.elastic.begin(parts.found.changed_by)
        doubt = self._probe_data(allow_inexact)
        self._try_first_samples()
        resuming = Resume(self._trainer, parts, loop, self._feed, self._evaluation, self.length, changes, allow_inexact)
        failed: Optional[SaveError] = None
        with parts.signals, self._closing():
            try:
                resuming.begin(resume, overwrite, doubt)
                loop.run()
                loop.saver.collect(wait=True)
                # Nobody ends, and lets the launcher end the others, before all has been saved.
                failed = parts.world.broadcast_object(parts.saver.failed)
                if failed is None:
                    parts.made_again.finish()
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
            owners = parts.all_owners(self._feed, self._evaluation).items()
            compare(parts.world, {n: o for n, o in owners if isinstance(o, Compared) and n not in _EACH_ITS_OWN})
        if parts.mesh is None:
            parts.world.broadcast(list(self._trainer.model.state_dict().values()))
        parts.random.start_rank()

    def _probe_data(self, allow_inexact: bool) -> str:
        """Why no resume could make the same batches again, if that is allowed; raises DataError if not."""
        put_back = self._parts.found.as_now()
        feeds = {"train": self._feed, **self._evaluation}
        doubt = next((f"{split} data: {text}" for split, feed in feeds.items() if (text := feed.probe(put_back))), "")
        if not doubt:
            return ""
        if not allow_inexact:
            raise DataError(
                f"{doubt}. So no resume could make the same batches again. Let it draw from Python's, NumPy's or "
                "Paddle's global generators, which are seeded for each sample, or from one that it seeds by the "
                "sample's index; or train all the same with --allow-inexact (the run's lineage will say so)."
            )
        self._trainer.tell(f"{doubt}. The run is inexact.")
        return doubt

    def _try_first_samples(self) -> None:
        """Whether data, model, loss and metrics go together; raises ConfigError or DataError if not."""
        parts, trainer = self._parts, self._trainer
        kind = type(trainer)
        # A step of the user's own would move the weights, and what runs before a run may need its callbacks first.
        is_users = kind.train_step is not kind.own_train_step
        needs_callbacks = kind.compute_loss is not kind.own_compute_loss and parts.hooks.has_users("on_train_begin")
        if is_users or needs_callbacks or parts.mesh is not None:
            return
        loss = getattr(trainer.loss, "__name__", type(trainer.loss).__name__)
        names = f"model {type(trainer.model).__name__}, loss {loss}, metrics and data"
        put_back = parts.found.as_now()
        evaluates = kind.evaluate_step is kind.own_evaluate_step
        for split, feed in {"train": self._feed, **(self._evaluation if evaluates else {})}.items():
            how = (trainer.model, parts.forward_apart, parts.given_metrics, put_back, names, split)
            try_first_samples(feed, *how)

    def _save_and_leave(self) -> None:
        """After a signal: save this step, if it is not saved yet, and end as a process ends that got the signal."""
        parts, progress = self._parts, self._parts.progress
        if parts.world.broadcast_object(not self.loop.saver.has_saved_here):
            self.loop.saver.save()
        self.loop.saver.collect(wait=True)
        parts.made_again.stop()
        failed = "" if parts.saver.failed is None else " That step could not be saved."
        self._trainer.tell(f"Stopped after step {progress.step}.{failed} {run_again()}")
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
            self._parts.made_again.kept.close()
            try:
                self._parts.engine.close()
            except SaveError as error:  # Of tidying up after the last save, which itself was collected before.
                self._trainer.tell(str(error))
