"""What a run is made of, put together from a trainer's arguments."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Optional, Union

import paddle

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.data.batch import Batch
from paddle_resume.data.evaluation_data import EvaluationData
from paddle_resume.data.feed import Feed
from paddle_resume.environment import Environment, pin_math_threads
from paddle_resume.errors import PaddleResumeError
from paddle_resume.loggers import Logger
from paddle_resume.loggers.logbook import Logbook
from paddle_resume.lr.stepper import LRStepper
from paddle_resume.metrics import RunningMetrics
from paddle_resume.owners.optimizer import parameters_of
from paddle_resume.parallel.exchange import SERVER, make_exchange
from paddle_resume.parallel.per_rank import PerRank
from paddle_resume.parallel.shares import Shares
from paddle_resume.parallel.step_agreement import StepAgreement
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams, preserved
from paddle_resume.stateful import HasFile, Owner, Owners, Stateful
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.combinations import (
    require_checkpoints_kept,
    require_elastic_to_fit,
    require_own_step_to_fit,
    require_sure_rollback,
)
from paddle_resume.training.divergence import SKIP, Divergence
from paddle_resume.training.elastic import OFFER, elastic_gradients
from paddle_resume.training.ema import AverageProgress
from paddle_resume.training.evaluator import Evaluator
from paddle_resume.training.failed_step import bad_sample, step_error
from paddle_resume.training.found_in_run import FOUND, FoundInRun
from paddle_resume.training.gradient_average import GradientAverage
from paddle_resume.training.hooks import Hooks, stateful
from paddle_resume.training.interrupt import SignalWatch
from paddle_resume.training.made_again import MadeAgain
from paddle_resume.training.model_owners import model_owners
from paddle_resume.training.named_losses import loss_and_output, total_loss
from paddle_resume.training.optimizer_step import OptimizerStep
from paddle_resume.training.options import Monitoring, Processes, StepOptions
from paddle_resume.training.precision import Precision
from paddle_resume.training.progress import Progress
from paddle_resume.training.save_hook import SaveHook
from paddle_resume.training.save_schedule import OFF, SaveSchedule
from paddle_resume.training.saver import Saver
from paddle_resume.training.state_as_now import state_as_now


class RunParts:
    """The parts of a run; `trainer` is what a user has built, perhaps of a class of their own."""

    def __init__(
        self,
        trainer: Any,
        optimizers: Mapping[str, paddle.optimizer.Optimizer],
        *,
        metrics: Sequence[paddle.metric.Metric],
        callbacks: Sequence[Callback],
        logger: Union[Logger, Sequence[Logger], None],
        save_dir: Union[str, Path],
        name: str,
        model_path: Union[str, Path, None],
        seed: int,
        schedule: SaveSchedule,
        step: StepOptions,
        monitoring: Monitoring,
        processes: Processes,
        owners: Mapping[str, Owner],
    ) -> None:
        self.trainer = trainer
        self.model_path = Path(model_path) if model_path is not None else None
        self.optimizers = optimizers
        self.given_metrics = metrics
        self.monitoring = monitoring
        self.world, self.mesh = processes.world or World.current(), processes.mesh
        # On a mesh all processes work on whole batches, as a single one would.
        self.data_parallel = World() if self.mesh else self.world
        self.precision = step.precision or Precision()
        require_elastic_to_fit(processes, self.precision, optimizers.values())
        self.has_server = processes.exchange == SERVER
        self.shares = Shares.of(processes.elastic, self.world, processes.exchange)
        if self.shares is not None:
            pin_math_threads()
        self.feed_options = {
            "seed": seed,
            "rank": self.data_parallel.rank,
            "size": self.data_parallel.size,
            "shares": self.shares.count if self.shares is not None else None,
            "mine": self.shares.mine if self.shares is not None else None,
        }
        self.precision.prepare(trainer.model, optimizers)
        self.divergence = step.on_nan if isinstance(step.on_nan, Divergence) else Divergence(step.on_nan)
        self.divergence.watch([p for each in optimizers.values() for p in parameters_of(each)])
        require_sure_rollback(self.divergence, schedule)
        require_checkpoints_kept(monitoring.check_resume, schedule)
        require_own_step_to_fit(type(trainer), step, self.divergence, processes)
        self.engine = CheckpointEngine(
            save_dir,
            name,
            keep=schedule.keep,
            keep_epochs=schedule.keep_epochs,
            background=schedule.background,
            memory=schedule.memory_now != OFF,
            world=self.world,
        )
        self.progress = Progress()
        # In an elastic run no process has randomness of its own.
        own_rank = 0 if self.shares else self.mesh.data_rank if self.mesh else self.world.rank
        self.random = RandomStreams(seed, rank=own_rank)
        self.agreement = StepAgreement(self.world, rides=self.shares is not None)
        self.elastic = elastic_gradients(
            self.shares,
            trainer.model,
            self._forward,
            self.precision,
            self.random,
            agreement=self.agreement,
            exchange=lambda: make_exchange(processes.exchange, self.world),
            step=lambda: self.progress.step,
            seed=seed,
            made_again=lambda: self.made_again,
            of_share=lambda index: self.metrics.scalars.of_share(index),
        )
        prints = self.elastic.last_prints if self.elastic is not None else None
        back = monitoring.check_resume or 0
        self.made_again: MadeAgain = MadeAgain(self.engine, self.random, self.world, back, self.tell, prints)
        self.metrics: RunningMetrics = RunningMetrics(
            metrics,
            world=self.data_parallel,
            are_found=True,
            on_loss=self.made_again.add_loss,
            by_share=self.shares is not None,
        )
        self.hooks = Hooks(callbacks, trainer)
        self.logbook = Logbook(logger, silent=not self.world.is_main, tell=self.tell)
        self.lr = LRStepper(optimizers, step.lr_interval, step.lr_metric)
        self.signals = SignalWatch()
        self._on_save = SaveHook(self.hooks, lambda call: self.found.changed_by(call), self.tell)
        self.saver = Saver(
            self.engine,
            schedule,
            landed=self._landed,
            tell=self.tell,
            world=self.world,
            has_memory=self.mesh is None,
        )
        self.gradients = GradientAverage(World() if self.elastic else self.data_parallel)
        self.optimizer_step = OptimizerStep(
            self._forward,
            optimizers,
            self.precision,
            self.gradients,
            accumulate_steps=step.accumulate_steps,
            skip_non_finite=self.divergence.policy == SKIP,
            elastic=self.elastic,
            unshard=lambda result: result if self.mesh is None else self.mesh.unshard(result),
        )
        self.evaluator = Evaluator(
            trainer.model,
            trainer.evaluate_step,
            self.metrics,
            world=self.world,
            mesh=self.mesh,
            precision=self.precision,
            ema=monitoring.ema,
            signals=self.signals,
            feed_options=self.feed_options,
            call=self.hooks.call,
        )
        self._of_model = model_owners(trainer.model, optimizers, self.mesh, self.engine, self.world, self.has_server)
        self.owners = self._build_owners(callbacks, owners)
        own = [part for name, part in vars(self).items() if name not in ("trainer", "optimizers")]
        own += [monitoring.ema, monitoring.best, *self.logbook.given]
        self._every_of: tuple[Any, Any, Any] = (None, None, None)
        self._every = Owners()
        self.found: FoundInRun = FoundInRun(
            trainer,
            optimizers,
            metrics,
            callbacks,
            self.owners,
            own,
            self.world,
            self.tell,
            is_elastic=self.elastic is not None,
            has_server=self.has_server,
        )

    def all_owners(self, feed: Optional[Feed], evaluation: Mapping[str, Feed]) -> Owners:
        """Every owner of the run in the order in which they are restored: the random streams last.

        They stay the same ones until other data are looked at, so that the environment is read once in a run.
        """
        key = (feed, evaluation, self.found.owners)
        if all(map(operator.is_, key, self._every_of)):
            return self._every
        self._every_of, self._every = key, self._all_owners(feed, evaluation)
        return self._every

    def _all_owners(self, feed: Optional[Feed], evaluation: Mapping[str, Feed]) -> Owners:
        offer = "" if self.mesh is not None else OFFER
        owners = Owners(environment=Environment(any_world=self.elastic is not None, other_world=offer))
        owners.update(self.found.owners)  # They make room for tensors of the model.
        owners.update(self.owners)
        owners.add("metrics", self.metrics)  # Bringing the ranks' together moves what is found in them.
        if feed is not None:
            owners.update({"data": feed, "evaluation": EvaluationData(evaluation)})
        owners.add("rng", PerRank(self.random, World() if self.elastic else self.world))
        return owners

    def moved_by_evaluation(self, feed: Feed, evaluation: Mapping[str, Feed]) -> Owners:
        """The owners that an evaluation or a log record may move: all but the model's and optimizers' own."""
        still = {name for name in self._of_model if not name.startswith("scheduler")}
        every = self.all_owners(feed, evaluation).items()
        moved = {n: o for n, o in every if isinstance(o, Stateful) and not isinstance(o, HasFile) and n not in still}
        return Owners(**{**moved, FOUND: self.found.before_end})

    @property
    def shares_in_all(self) -> int:
        """Into how many shares a batch is cut."""
        return self.data_parallel.size if self.shares is None else self.shares.count

    def as_now(self, whole: bool) -> Callable[[], None]:
        """What brings back all that was found in the run and, if `whole`, all else that a save of it holds."""
        return state_as_now([self.found, *(self.owners.values() if whole else ()), self.random])

    def _build_owners(self, callbacks: Sequence[Callback], given: Mapping[str, Owner]) -> Owners:
        owners = Owners(**self._of_model)
        owners.update({"progress": self.progress, "precision": self.precision})
        owners.update({"update": self.optimizer_step, "rates": self.lr, "divergence": self.divergence})
        if self.monitoring.ema is not None:
            self.monitoring.ema.follow(self.trainer.model)
            owners.update({"ema": self.monitoring.ema, "ema.progress": AverageProgress(self.monitoring.ema)})
        if self.monitoring.best is not None:
            owners.add("best", self.monitoring.best)
        for label, owner in [*stateful(callbacks), *given.items(), *self.logbook.owners()]:
            owners.add(label, owner)
        return owners

    def _landed(self, prefix: Path) -> None:
        self.made_again.kept.landed(prefix)
        self._on_save(prefix)

    def tell(self, text: str) -> None:
        self.trainer.tell(text)

    def _forward(self, batch: Batch) -> tuple[paddle.Tensor, Any]:
        if self.mesh is not None:
            batch = batch.mapped(self.mesh.shard_batch)
        loss, output = loss_and_output(self.trainer.compute_loss(batch), type(self.trainer).__name__)
        return total_loss(loss, self.log, f"{type(self.trainer).__name__}.compute_loss"), output

    def forward_apart(self, batch: Batch) -> tuple[paddle.Tensor, Any]:
        """(mean loss, output) of a batch that does not count."""
        with self.precision.autocast(), self.evaluator.logging_to(RunningMetrics(())):
            return self._forward(batch)

    def step_error(
        self, error: Exception, batches: Sequence[Batch], where: str, is_stream: bool
    ) -> Optional[Exception]:
        """What to raise for a step that failed, with the sample that is to blame where one is; None: the error."""
        trainer, kind = self.trainer, type(self.trainer)
        named: Optional[PaddleResumeError] = None
        if kind.train_step is kind.own_train_step:
            what = f"the model {type(trainer.model).__name__} with its loss"
            if self.mesh is None:  # Else a forward is one of all processes.
                named = bad_sample(error, batches, self.forward_apart, trainer.model, where, is_stream)
        else:
            what = trainer.train_step.__qualname__
            if self.world.is_single:
                how: dict[str, Any] = {"what": what, "undisturbed": self._steps_undone()}
                named = bad_sample(error, batches, trainer.train_step, trainer.model, where, is_stream, **how)
        return named or step_error(error, batches, where, what)

    @contextmanager
    def _steps_undone(self) -> Iterator[None]:
        """Steps that are made inside do not count; afterwards all is as it was, as far as a checkpoint holds it."""
        put_back = self.as_now(whole=True)
        with preserved(), self.evaluator.logging_to(RunningMetrics(())):
            try:
                yield
            finally:
                # The run has failed. What an optimizer made meanwhile may have no place where there was none.
                with suppress(Exception):
                    put_back()

    def log(self, values: Mapping[str, Any]) -> None:
        """Take in further scalars, of the evaluation under way or else of training."""
        (self.evaluator.running or self.metrics).log(values)
