"""The trainer: what a user builds, calls and overrides. The order of things is in `loop`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle

from paddle_resume.checked_arguments import SEED, checked
from paddle_resume.checkpoint.catalog import Found
from paddle_resume.checkpoint.lineage import Lineage
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.data.batch import Batch, MicroBatches
from paddle_resume.errors import StateError
from paddle_resume.loggers import Logger
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.owners.optimizer import parameters_of
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.default_logs import SAVE_DIR, logs_of
from paddle_resume.training.options import Monitoring, Processes, StepOptions, refuse_unknown
from paddle_resume.training.parts import RunParts
from paddle_resume.training.precision import readable_output
from paddle_resume.training.python_face import python_face
from paddle_resume.training.resume_changes import GivenChanges, ResumeChanges
from paddle_resume.training.resume_from import resume_from
from paddle_resume.training.run_console import RunConsole
from paddle_resume.training.run_data import TRAIN_DATA, DataOptions
from paddle_resume.training.run_length import RunLength
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.session import Session
from paddle_resume.training.start_block import start_facts
from paddle_resume.training.train_arguments import DATA_RULES, LOGS, RENAMED
from paddle_resume.training.trial import run_trial
from paddle_resume.translations import shown
from paddle_resume.user_terms import in_user_terms

Optimizers = Union[paddle.optimizer.Optimizer, Mapping[str, paddle.optimizer.Optimizer]]


class Trainer:
    """Trains a model so that an interruption changes nothing.

    Args:
        model: any `paddle.nn.Layer`; for several networks, one Layer that holds them.
        optimizer: a Paddle optimizer, or several by name (each gets a file `.<name>.pdopt`).
        loss: called as `loss(output, label)`, gives the mean over the batch.
        metrics: `paddle.metric.Metric` objects, kept for training and evaluation apart; see `RunningMetrics`.
        callbacks: see `Callback`. Those with `state_dict` are saved with the run.
        logger: one Logger or several; they are cut back and continued on a resume. `auto`: VisualDL's and JSON Lines
            in the folder `<log_dir>/<name>`; None: no logs.
        log_dir: None: `log`, or `<save_dir>/log` where `save_dir` is another than the usual.
        console: print what the run is, how it goes and what comes out; False: only what needs attention.
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

    @python_face
    @checked(seed=SEED, logger=LOGS)
    def __init__(
        self,
        model: paddle.nn.Layer,
        optimizer: Optimizers,
        *,
        loss: Optional[Callable[..., paddle.Tensor]] = None,
        metrics: Sequence[paddle.metric.Metric] = (),
        callbacks: Sequence[Callback] = (),
        logger: Union[Logger, Sequence[Logger], str, None] = "auto",
        log_dir: Union[str, Path, None] = None,
        console: bool = True,
        save_dir: Union[str, Path] = SAVE_DIR,
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
            refuse_unknown(unknown, Trainer.__init__.__annotations__, Trainer.train.__annotations__)
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.restored: Optional[Restored] = None
        self._session: Optional[Session] = None
        prints = console and not any(isinstance(each, RunConsole) for each in callbacks)
        self._console = RunConsole([]) if prints and (processes.world or World.current()).is_main else None
        self._arguments: dict[str, Any] = dict(  # noqa: C408
            metrics=metrics,
            callbacks=[*([self._console] if self._console is not None else []), *callbacks],
            logger=logs_of(logger, log_dir, save_dir, name),
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
        self._parts = self._new_parts()

    def _new_parts(self, **others: Any) -> RunParts:
        """The parts of a run of this trainer, perhaps with other arguments."""
        optimizer = self.optimizer
        named = {"": optimizer} if isinstance(optimizer, paddle.optimizer.Optimizer) else dict(optimizer)
        return RunParts(self, named, **{**self._arguments, **others})

    @python_face
    @checked(RENAMED, **DATA_RULES)
    def train(
        self,
        train_data: Any,
        valid_data: Any = None,
        test_data: Any = None,
        *,
        epochs: int = 1,
        max_steps: Optional[int] = None,
        limit_batches: Optional[int] = None,
        global_batch_size: Optional[int] = None,
        shuffle: Optional[bool] = None,
        drop_last: Optional[bool] = None,
        num_workers: Optional[int] = None,
        resume: Any = "auto",
        allow_inexact: bool = False,
        allow_change: Union[str, Sequence[str]] = (),
        overwrite: bool = False,
        lr_change: Optional[str] = None,
        changes: Optional[ResumeChanges] = None,
    ) -> dict[str, float]:
        """Train until `epochs` or `max_steps` is reached, from wherever the run stands; returns the last metrics.

        Data are datasets or `paddle.io.DataLoader`s. A batch has `global_batch_size` samples over all processes
        together (so has one of a DataLoader's), of which each process takes its share. What is None is as a DataLoader
        says; for a dataset the batch size is 32, and it is shuffled, to its last sample, in this process.
        `limit_batches` ends each epoch, and each evaluation, after so many batches. `resume` is `auto` (continue this
        run if it has a checkpoint), `best`, a checkpoint's prefix, or `none`. `allow_change` names arguments whose
        values may be others from here on, such as `["seed"]`. `lr_change` says how another learning rate goes on:
        `replan`, as if it had been there from the first step, `restart`, or `hold` the old one at its end. The run
        evaluates on `valid_data` after each epoch and on `test_data` at its end. Raises ConfigError, DataError,
        CheckpointError, InexactResumeError,
        NonFiniteLossError, ParallelError, and SaveError if the last save failed; Ctrl-C and SIGTERM save, then end the
        process as usual.
        """
        parts = self._parts
        with parts.world.together():
            prefix = resume_from(resume, parts.engine)
            wanted = GivenChanges(allow_change, lr_change) if changes is None else changes
            options = DataOptions(global_batch_size, shuffle, drop_last, num_workers, limit_batches)
            feed, evaluation = options.feeds(train_data, {"valid": valid_data, "test": test_data}, parts.feed_options)
            accumulate = parts.optimizer_step.accumulate_steps
            length = RunLength(epochs, max_steps, feed.batches_per_epoch, accumulate, feed.batch_size)
            self._session = Session(self, parts, feed, evaluation, length)
            if self._console is not None:
                run, feeds = f"{parts.engine.name} in {parts.engine.folder}", {"train": feed, **evaluation}
                shares = None if parts.shares is None else parts.shares.count
                facts = start_facts(self.model, feeds, run, self.loggers, parts.world, shares, parts.has_server)
                self._console.facts = facts
            self._session.run(prefix, allow_inexact=allow_inexact, overwrite=overwrite, changes=wanted)
            return self.results

    @python_face
    def trial(self, train_data: Any, valid_data: Any = None, test_data: Any = None, **options: Any) -> None:
        """Try all of `train` in seconds: a few steps, an evaluation, a save and a resume; prints what was tried.

        It takes what `train` takes, works in a temporary folder, and leaves model, optimizer, generators and data as
        they were: a training that comes after it makes the same bits as without it. Raises what `train` would.
        """
        run_trial(self, (train_data, valid_data, test_data), options)

    def log(self, **scalars: Any) -> None:
        """Log further scalars by name, as means like the loss: `self.log(d_loss=d_loss)` in a step.

        Each is a number or a tensor of one. In training they are logged as `train/d_loss`, every `log_every` steps; in
        an evaluation as `valid/d_loss`. Raises ConfigError for a name that is taken.
        """
        self._parts.log(scalars)

    def compute_loss(self, batch: Batch) -> tuple[paddle.Tensor, Any]:
        """(mean loss, output) of a batch `[*inputs, label]`; override it for another loss.

        The batch has the structure of a sample: of a dict, `label` or `labels` is the label and all else goes to the
        model by name. The loss may be a dict of several: what is called `loss`, or else their sum, is optimised, and
        the others are logged by their names.
        """
        if self.loss is None:
            raise StateError(
                "Without a loss, Trainer.compute_loss or Trainer.train_step has to be overridden; or give one, such as "
                "Trainer(loss=paddle.nn.CrossEntropyLoss())."
            )
        given = Batch.of(batch)
        output = readable_output(given.through(self.model))
        return self.loss(output, given.label), output

    own_compute_loss = compute_loss

    def train_step(self, batch: Any) -> Any:
        """One optimizer update on a batch `[*inputs, label]`; returns the loss, or (loss, output) for metrics.

        The loss may be a dict of several, as in `compute_loss`: `loss`, or else their sum, is what is shown as such.

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

    own_evaluate_step = evaluate_step

    @python_face
    @checked(data=TRAIN_DATA)
    def evaluate(self, data: Any, split: str = "valid", **options: Any) -> dict[str, float]:
        """Loss and metrics over all of `data`; moves no generator and nothing else that training depends on."""
        return self._parts.evaluator.evaluate(data, split, self.step, **options)

    @python_face
    @checked(data=TRAIN_DATA)
    def predict(self, data: Any, **options: Any) -> np.ndarray:
        """The model's outputs [N, ...] for all of `data`; the last item of each sample is taken for a label."""
        return self._parts.evaluator.predict(data, **options)

    @python_face
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
        text = in_user_terms(text)
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
    def running(self) -> dict[str, float]:
        """Loss, metrics and what is logged, as the means since the last record of the log, for a person to look at."""
        return self._parts.metrics.so_far()

    @property
    def lineage(self) -> Lineage:
        """The run's history: starts, resumes, changes, rollbacks."""
        return self._parts.engine.lineage

    @property
    def loggers(self) -> Sequence[Logger]:
        """The run's loggers, for callbacks that log more than scalars; rank 0's alone, others have none."""
        return self._parts.logbook.loggers
