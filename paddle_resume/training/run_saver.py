"""Saves a run where it stands: names the checkpoint, refuses what has diverged, and goes back to one."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Optional

import paddle

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.data.feed import Feed
from paddle_resume.errors import NonFiniteLossError
from paddle_resume.metrics import RunningMetrics
from paddle_resume.stateful import Owners
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.divergence import Divergence
from paddle_resume.training.made_again import MadeAgain
from paddle_resume.training.progress import Progress
from paddle_resume.training.saver import Saver


class RunSaver:
    """The checkpoints of a trainer's run, each of all its `owners`."""

    def __init__(
        self,
        saver: Saver,
        engine: CheckpointEngine,
        owners: Callable[[], Owners],
        *,
        model: paddle.nn.Layer,
        feed: Feed,
        progress: Progress,
        metrics: RunningMetrics,
        divergence: Divergence,
        heart: Heartbeat,
        made_again: MadeAgain,
        tell: Callable[[str], None],
    ) -> None:
        self._saver = saver
        self._engine = engine
        self._owners = owners
        self._model = model
        self._feed = feed
        self._progress = progress
        self._metrics = metrics
        self._divergence = divergence
        self._heart = heart
        self._made_again = made_again
        self._tell = tell

    @property
    def epoch(self) -> int:
        """The epoch under way or, between two epochs, the one just finished; counted from 0."""
        return self._feed.epoch - 1 if self._feed.between_epochs else self._feed.epoch

    @property
    def epoch_is_due(self) -> bool:
        """Whether an epoch has just ended after which an epoch checkpoint is saved."""
        return self._feed.between_epochs and self._saver.schedule.epoch_is_due(self.epoch)

    @property
    def is_scheduled(self) -> bool:
        """Whether a checkpoint belongs here whatever time has passed and wherever the run was interrupted."""
        return self.epoch_is_due or self._saver.schedule.step_is_due(self._progress.step)

    @property
    def has_saved_here(self) -> bool:
        """Whether a checkpoint of this step, from which a resume can begin, was saved, perhaps in an earlier phase."""
        return self._saver.has_saved_step(self._progress.step)

    def is_due(self, step: int) -> bool:
        """Whether a step checkpoint is due at this step; rank 0 decides."""
        return self._saver.is_due(step)

    def make_ready(self) -> None:
        """Have all ready for the first save; called after a first step, when the optimizer has its state."""
        self._saver.make_ready(self._owners)

    def save(self, tag: Optional[str] = None) -> Path:
        """Begin a save, if not told otherwise under the name that fits the position; returns its prefix.

        Raises NonFiniteLossError rather than save what such a loss has touched, and InexactStepError for what came
        out otherwise than before.
        """
        progress, divergence = self._progress, self._divergence
        tag = tag or (f"epoch{self.epoch}" if self.epoch_is_due else f"step{progress.step}")
        self._heart.beat(progress.step, "save")
        divergence.check_all(self._metrics, self._model, progress.step)
        self._metrics.read_losses()  # Capturing them does so anyway.
        self._made_again.before_save(progress.step)
        if self.is_scheduled and tag != BEST:
            # Only these: where a run was interrupted must not decide where it goes back to.
            divergence.target = self._engine.prefix(tag).name
        self._saver.begin(
            self._owners(),
            step=progress.step,
            tag=tag,
            epoch=self.epoch,
            phase=progress.phase,
            protect=divergence.protected,
        )
        self._made_again.saving(tag, progress.step)
        return self._engine.prefix(tag)

    def memory_is_due(self, step: int) -> bool:
        """Whether this step is to be kept in memory; rank 0 decides."""
        return self._saver.memory_is_due(step)

    def keep_in_memory(self) -> None:
        """Keep this step in memory; never what has diverged, or came out otherwise than before."""
        progress = self._progress
        self._metrics.read_losses()
        if self._divergence.would_stop(self._metrics):
            return  # Whoever reads the losses next tells of it, at the step at which a run without this would.
        self._made_again.before_save(progress.step)
        self._saver.keep_in_memory(self._owners(), step=progress.step, epoch=self.epoch, phase=progress.phase)

    def save_now(self, tag: Optional[str] = None) -> Path:
        """Save, and wait until it is durable; raises SaveError, and what `save` raises."""
        prefix = self.save(tag)
        self.collect(wait=True)
        if self._saver.failed is not None:
            raise self._saver.failed
        return prefix

    def save_changes(self) -> None:
        """Save a run with changes, so that the same command needs no permission again, and a rollback keeps them."""
        tag = f"step{self._progress.step}"
        self._divergence.target = self._engine.prefix(tag).name
        self.save_now(tag)

    def collect(self, wait: bool = False) -> None:
        """Take notice of a save that has become durable, or has failed, behind training."""
        self._saver.collect(self._progress.step, wait=wait)

    def skipped(self, loss: float) -> None:
        """Note in the run's history that the update of this step was left out."""
        shown, step = f"{loss:.6g}", self._progress.step
        self._engine.lineage.skipped(step, shown)
        self._tell(f"Skipped the update of step {step}: the loss was {shown}, or a gradient was not finite.")

    def roll_back(self, error: NonFiniteLossError) -> None:
        """Go back to the last scheduled checkpoint, and on with a lower rate; raises `error` where that cannot be."""
        guard, step = self._divergence, self._progress.step
        if not guard.may_roll_back:
            last_good = next((str(found.prefix) for found in self._engine.found() if found.record), "")
            raise error.after(last_good, guard.advice) from None
        self.collect(wait=True)
        prefix = self._engine.folder / guard.target
        guard.roll_back(lambda: self._engine.roll_back(self._owners(), prefix))
        self._engine.lineage.rolled_back(step, prefix.name, guard.lr_scale)
        self._made_again.go_on(self._progress.step)
        self._tell(
            f"{error.what}. Went back to {prefix}, step {self._progress.step}, and on from there with "
            f"{guard.lr_scale:.4g} times the learning rate (rollback {guard.rollbacks} of {guard.max_rollbacks})."
        )
