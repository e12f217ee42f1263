"""The trainer: what a user builds, calls and overrides. The order of things is in `loop`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle

from paddle_resume.checkpoint.catalog import Found
from paddle_resume.checkpoint.engine import Restored
from paddle_resume.checkpoint.lineage import Lineage
from paddle_resume.data.batch import Batch, MicroBatches
from paddle_resume.data.feed import Feed
from paddle_resume.errors import StateError
from paddle_resume.loggers import Logger
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.owners.optimizer import parameters_of
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.options import Monitoring, Processes, StepOptions, refuse_unknown
from paddle_resume.training.parts import RunParts
from paddle_resume.training.precision import readable_output
from paddle_resume.training.resume_changes import NO_CHANGES, ResumeChanges
from paddle_resume.training.run_length import RunLength
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.session import Session
from paddle_resume.translations import shown

Optimizers = Union[paddle.optimizer.Optimizer, Mapping[str, paddle.optimizer.Optimizer]]


class Trainer:
    """Trains a model so that an interruption changes nothing.

    Args:
        model: any `paddle.nn.Layer`; for several networks, one Layer that holds them.
        optimizer: a Paddle optimizer, or several by name (each gets a file `.<name>.pdopt`).
        loss: called as `loss(output, label)`, gives the mean over the batch.
        metrics: `paddle.metric.Metric` objects, kept for training and evaluation apart; see `RunningMetrics`.
        callbacks: see `Callback`. Those with `state_dict` are saved with the run.
        logger: one Logger or several; they are cut back and continued on a resume.
        save_dir, name: checkpoints are `<save_dir>/<name>_epoch<E>` and `<save_dir>/<name>_step<S>`.
        model_path: where the finished weights go, in the format of `paddle.save`; None writes none.
        seed: keys the order of the data and all augmentation.
        schedule: when checkpoints are saved, how, and how many stay.
        step: how a step is made: accumulation, learning rate, precision, and what NaN does.
        monitoring: when to log and to evaluate, an average of the weights, the best, and stopping early.
        processes: those that train together.
        owners: further owners of state by name.

    Override `compute_loss` for another loss, and `train_step` for several networks; exact resume does not depend on
    what is in them. Callbacks get the trainer, as a `RunView`.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        optimizer: Optimizers,
        *,
        loss: Optional[Callable[..., paddle.Tensor]] = None,
        metrics: Sequence[paddle.metric.Metric] = (),
        callbacks: Sequence[Callback] = (),
        logger: Union[Logger, Sequence[Logger], None] = None,
        save_dir: Union[str, Path] = "checkpoint",
        name: str = "model",
        model_path: Union[str, Path, None] = None,
        seed: int = 0,
        schedule: SaveSchedule = SaveSchedule(),
        step: StepOptions = StepOptions(),
        monitoring: Monitoring = Monitoring(),
        processes: Processes = Processes(),
        owners: Optional[Mapping[str, Owner]] = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            refuse_unknown(unknown, Trainer.__init__.__annotations__)
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.restored: Optional[Restored] = None
        self._session: Optional[Session] = None
        self._parts = RunParts(
            self,
            {"": optimizer} if isinstance(optimizer, paddle.optimizer.Optimizer) else dict(optimizer),
            metrics=metrics,
            callbacks=callbacks,
            logger=logger,
            save_dir=save_dir,
            name=name,
            model_path=model_path,
            seed=seed,
            schedule=schedule,
            step=step,
            monitoring=monitoring,
            processes=processes,
            owners=owners or {},
        )

    def train(
        self,
        train_data: Any,
        valid_data: Any = None,
        test_data: Any = None,
        *,
        epochs: int = 1,
        max_steps: Optional[int] = None,
        global_batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        num_workers: int = 0,
        resume: str = "auto",
        allow_inexact: bool = False,
        overwrite: bool = False,
        changes: ResumeChanges = NO_CHANGES,
    ) -> dict[str, float]:
        """Train until `epochs` or `max_steps` is reached, from wherever the run stands; returns the last metrics.

        Data are datasets or `paddle.io.DataLoader`s. A batch has `global_batch_size` samples over all processes
        together (so has one of a DataLoader's), of which each process takes its share. `resume` is `auto` (continue
        this run if it has a checkpoint), a checkpoint's prefix, or `none`. The run evaluates on `valid_data` after
        each epoch and on `test_data` at its end. Raises CheckpointError, InexactResumeError, NonFiniteLossError,
        ParallelError, and SaveError if the last save failed; Ctrl-C and SIGTERM save, then end the process as usual.
        """
        parts = self._parts
        with parts.world.together():
            options = {**parts.feed_options, "batch_size": global_batch_size, "num_workers": num_workers}
            feed = Feed.of(train_data, shuffle=shuffle, drop_last=drop_last, **options)
            given = {"valid": valid_data, "test": test_data}
            evaluation = {
                split: Feed.of(data, shuffle=False, **options) for split, data in given.items() if data is not None
            }
            length = RunLength(
                epochs, max_steps, feed.batches_per_epoch, parts.optimizer_step.accumulate_steps, feed.batch_size
            )
            self._session = Session(self, parts, feed, evaluation, length)
            self._session.run(resume, allow_inexact=allow_inexact, overwrite=overwrite, changes=changes)
            return self.results

    def compute_loss(self, batch: Batch) -> tuple[paddle.Tensor, Any]:
        """(mean loss, output) of a batch `[*inputs, label]`; override it for another loss."""
        *inputs, label = batch
        if self.loss is None:
            raise StateError("Without a loss, Trainer.compute_loss or Trainer.train_step has to be overridden.")
        output = readable_output(self.model(*inputs))
        return self.loss(output, label), output

    def train_step(self, batch: Any) -> Any:
        """One optimizer update on a batch `[*inputs, label]`; returns the loss, or (loss, output) for metrics.

        Override it for several networks. The scheduler's step and the metrics are left to the trainer. With several
        processes call `average_gradients(optimizer, batch)` between `backward()` and each `optimizer.step()`.
        """
        return self._parts.optimizer_step.make(batch if isinstance(batch, MicroBatches) else [Batch.of(batch)])

    own_train_step = train_step

    def average_gradients(self, optimizer: paddle.optimizer.Optimizer, batch: Batch) -> None:
        """Give the optimizer's parameters the gradients of the whole `batch`, of all processes' shares of it.

        For an overridden `train_step`, between `backward()` and `optimizer.step()`. In a single process it does
        nothing.
        """
        world = self._parts.data_parallel
        if not world.is_single:
            weight = batch.local_size * world.size / batch.global_size
            self._parts.gradients.average(parameters_of(optimizer), weight)

    def evaluate_step(self, batch: Batch) -> Any:
        """Loss and output of a batch `[*inputs, label]`, without gradients."""
        return self.compute_loss(batch)

    def evaluate(self, data: Any, split: str = "valid", **options: Any) -> dict[str, float]:
        """Loss and metrics over all of `data`; moves no generator and nothing else that training depends on."""
        return self._parts.evaluator.evaluate(data, split, self.step, **options)

    def predict(self, data: Any, **options: Any) -> np.ndarray:
        """The model's outputs [N, ...] for all of `data`; the last item of each sample is taken for a label."""
        return self._parts.evaluator.predict(data, **options)

    def save(self, tag: Optional[str] = None) -> Path:
        """Save a checkpoint now, as `<name>_<tag>` (default `step<S>`).

        Raises StateError before `train`, SaveError, and NonFiniteLossError rather than save what such a loss has
        touched.
        """
        if self._session is None:
            raise StateError("There is no run to save: Trainer.save() is for callbacks, while train() is under way.")
        return self._session.loop.saver.save_now(tag)

    def tell(self, text: str) -> None:
        """Say what a person should know: to the callbacks that listen for it, or else on stderr. Rank 0 speaks."""
        if not self._parts.world.is_main:
            return
        self._parts.hooks.call("on_message", text)
        if not self._parts.hooks.has("on_message"):
            print(shown(text), file=sys.stderr)

    @property
    def step(self) -> int:
        """Steps (optimizer updates) made so far."""
        return self._parts.progress.step

    @property
    def epoch(self) -> int:
        """The epoch under way or, between two epochs, the one just finished; counted from 0."""
        return self._session.loop.saver.epoch if self._session is not None else 0

    @property
    def steps_in_epoch(self) -> int:
        """Steps made in that epoch."""
        return self._session.loop.steps_in_epoch if self._session is not None else 0

    @property
    def is_between_epochs(self) -> bool:
        """Whether an epoch has just been finished and the next one not begun."""
        return self._session is not None and self._session.loop.feed.between_epochs

    @property
    def phase(self) -> str:
        """What comes next: `train`, `evaluate`, `finish` or `done`."""
        return self._parts.progress.phase

    @property
    def length(self) -> RunLength:
        """How many steps there are in all, and in an epoch; raises StateError before `train`."""
        if self._session is None:
            raise StateError("How long a run is, is known once Trainer.train() has its data.")
        return self._session.length

    @property
    def world(self) -> World:
        """The processes that train together; `rank` and `size` say which this one is."""
        return self._parts.world

    @property
    def checkpoints(self) -> list[Found]:
        """This run's checkpoints, the last written first."""
        return self._parts.engine.found()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step (of the first optimizer, if there are several)."""
        first: Any = next(iter(self._parts.optimizers.values()))
        # LBFGS keeps its rate to itself, and lets Paddle tell another.
        return first.learning_rate if is_lbfgs(first) else first.get_lr()

    @property
    def results(self) -> dict[str, float]:
        """The latest values by tag, such as `train/loss` and `valid/acc`."""
        return self._parts.progress.results

    @property
    def lineage(self) -> Lineage:
        """The run's history: starts, resumes, changes, rollbacks."""
        return self._parts.engine.lineage

    @property
    def loggers(self) -> Sequence[Logger]:
        """The run's loggers, for callbacks that log more than scalars; rank 0's alone, others have none."""
        return self._parts.logbook.loggers
