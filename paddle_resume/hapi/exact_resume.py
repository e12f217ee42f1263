"""The callback that makes `paddle.Model.fit` continue after any interruption as if there had been none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Union

import paddle

from paddle_resume.checked_arguments import SEED, checked_class
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.errors import StateError
from paddle_resume.hapi.fit import ResumableFit
from paddle_resume.hapi.takeover import callbacks_of_fit
from paddle_resume.training.save_schedule import OFF, SaveSchedule

_EVERY_MINUTES = 10.0


@checked_class(seed=SEED)
class ExactResume(paddle.callbacks.Callback):
    """Give it to `Model.fit(callbacks=[ExactResume("checkpoint")])`; the same script, run again, continues.

    Args:
        save_dir, name: checkpoints are `<save_dir>/<name>_epoch<E>` and `<save_dir>/<name>_step<S>`. Each fit that is
            to be resumed by itself needs a name of its own.
        seed: keys the order of the data and what the transforms draw.
        schedule: when checkpoints are saved, how, and how many stay; None saves after each epoch and every ten
            minutes, and keeps two of each kind.
        resume: `auto` (continue if there is a checkpoint), a checkpoint's prefix, or `none` (start over).
        allow_inexact: go on although something differs from when the checkpoint was saved.
        overwrite: with `resume="none"`, remove the checkpoints of the run before.

    While it trains, `fit` takes its batches in this package's order, and Paddle's VisualDL callback writes one file,
    `<log_dir>/vdlrecords.<name>.log`, which is cut back on a resume. From within `fit` come CheckpointError,
    InexactResumeError, DataError, StateError, and SaveError if the last save failed. Ctrl-C and SIGTERM finish the
    step, save, and end the process as usual.
    """

    def __init__(
        self,
        save_dir: Union[str, Path] = "checkpoint",
        name: str = "model",
        *,
        seed: int = 0,
        schedule: Optional[SaveSchedule] = None,
        resume: str = "auto",
        allow_inexact: bool = False,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        self.save_dir = save_dir
        self.name = name
        self.seed = seed
        self.schedule = schedule or SaveSchedule(every_minutes=_EVERY_MINUTES, keep_epochs=2)
        self.resume = resume
        self.allow_inexact = allow_inexact
        self.overwrite = overwrite
        self._fit: Optional[ResumableFit] = None

    @property
    def restored(self) -> Optional[Restored]:
        """What the last `fit` went on from; None if it started from the beginning."""
        return self._fit.restored if self._fit is not None else None

    def on_train_begin(self, logs: Any = None) -> None:
        """Take over the `fit` that is about to begin."""
        callbacks = callbacks_of_fit()
        if sum(isinstance(callback, ExactResume) for callback in callbacks.callbacks) > 1:
            raise StateError("Model.fit was given two ExactResume callbacks, and a run has one; leave one out.")
        self._fit = ResumableFit(
            self.model,
            callbacks,
            self,
            CheckpointEngine(
                self.save_dir,
                self.name,
                keep=self.schedule.keep,
                keep_epochs=self.schedule.keep_epochs,
                background=self.schedule.background,
                memory=self.schedule.memory_now != OFF,
            ),
            seed=self.seed,
            schedule=self.schedule,
        )
        self._fit.take_over(resume=self.resume, allow_inexact=self.allow_inexact, overwrite=self.overwrite)
